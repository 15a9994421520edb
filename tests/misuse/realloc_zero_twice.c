/* Calls realloc(p, 0), which frees, twice.
 *
 * stderr: free(): double free detected in tcache 2
 * or:     realloc(): invalid pointer
 * or:     realloc(): invalid old size
 * or:     realloc(): invalid next size
 * or:     mremap_chunk(): invalid pointer
 * or:     free(): invalid pointer
 * or:     free(): invalid size
 * or:     free(): invalid next size (normal)
 * or:     free(): invalid next size (fast)
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
    char *p = malloc(64);
    void *q = realloc(p, 0);
    q = realloc(p, 0);
    survived(q, 0);
}
