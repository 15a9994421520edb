/* Overwrites the header behind a 60,000-byte chunk with letters and makes
 * the chunk larger with realloc, then frees its neighbour.
 *
 * stderr: realloc(): invalid next size
 * or:     realloc(): invalid pointer
 * or:     realloc(): invalid old size
 * or:     mremap_chunk(): invalid pointer
 * or:     free(): invalid pointer
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
    char *p = malloc(60000), *next = malloc(60000), *guard = malloc(100);
    memset(header_after(p), 'A', 8);
    char *q = realloc(p, 90000);
    free(next);
    survived(guard, 100);
    (void)q;
}
