/* Copies a string of 200 letters into a block of 40 bytes, over four chunks
 * behind it; then frees all.
 *
 * stderr: double free or corruption (out)
 * or:     free(): invalid size
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p[6];
    for (int i = 0; i < 6; i++)
        p[i] = malloc(40);
    memset(p[0], 'A', 200);
    for (int i = 0; i < 6; i++)
        free(p[i]);
    survived(NULL, 0);
}
