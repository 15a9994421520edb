/* Frees the last of eight chunks of one size again: the seven before it fill
 * glibc's thread cache, so the eighth stands on top of a fastbin.
 *
 * stderr: double free or corruption (fasttop)
 * or:     free(): double free detected in tcache 2
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p[8];
    for (int i = 0; i < 8; i++)
        p[i] = malloc(32);
    for (int i = 0; i < 8; i++)
        free(p[i]);
    free(p[7]);
    survived(NULL, 0);
}
