/* Calls realloc with p + 64 of a live chunk full of letters.
 *
 * stderr: realloc(): invalid pointer
 * or:     realloc(): invalid old size
 * or:     realloc(): invalid next size
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
    char *p = malloc(512);
    memset(p, 'A', 512);
    char *q = realloc(p + 64, 1000);
    survived(q, 100);
}
