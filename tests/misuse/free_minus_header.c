/* Frees p - 16, the address of the chunk's header.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *a = malloc(64), *p = malloc(64);
    memset(a, 0, 64);
    free(p - 16);
    survived(p, 64);
}
