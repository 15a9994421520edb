/* Frees the middle of a chunk that is free.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(512);
    memset(p, 0, 512);
    free(p);
    free(p + 64);
    survived(NULL, 0);
}
