/* Frees the end of a live chunk, one past its last byte.
 *
 * stderr: free(): invalid pointer
 * or:     free(): invalid size
 * or:     free(): invalid next size (normal)
 * or:     free(): invalid next size (fast)
 * or:     free(): double free detected in tcache 2
 * or:     double free or corruption (!prev)
 * or:     double free or corruption (top)
 * or:     double free or corruption (out)
 * or:     double free or corruption (fasttop)
 * or:     munmap_chunk(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(56);
    char *guard = malloc(56);
    memset(p, 'B', 56);
    memset(guard, 'B', 56);
    free(p + 56);
    survived(guard, 56);
}
