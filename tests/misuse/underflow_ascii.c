/* Writes sixteen letters in front of its own block; then frees it.
 *
 * stderr: double free or corruption (out)
 * or:     free(): invalid size
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(40);
    memset(p - 16, 'A', 16);
    free(p);
    survived(NULL, 0);
}
