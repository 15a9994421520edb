/* Frees p + 64 of a live chunk full of letters.
 *
 * stderr: double free or corruption (out)
 * or:     free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(512);
    memset(p, 'A', 512);
    free(p + 64);
    survived(p, 512);
}
