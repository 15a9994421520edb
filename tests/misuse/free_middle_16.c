/* Frees p + 16 of a live chunk that holds a list node: a small count and a
 * pointer.
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
    uint64_t *p = malloc(64);
    p[0] = 1;
    p[1] = 32;
    p[2] = (uint64_t)p;
    free(p + 2);
    survived(p, 64);
}
