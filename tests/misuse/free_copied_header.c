/* Frees a pointer into a live chunk in front of which stands an exact copy
 * of the live header of another chunk.
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
 * limit: a copy of a live header of the same arena is a perfect forgery for checks that look at the header alone
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *a = malloc(48), *p = malloc(512);
    memset(p, 0, 512);
    *header_of(p + 64) = *header_of(a);
    free(p + 64);
    survived(p, 512);
}
