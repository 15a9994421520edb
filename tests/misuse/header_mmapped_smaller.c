/* Makes the size in the header of a chunk that has a mapping of its own
 * smaller by a page; then frees it.
 *
 * glibc leaves a page behind.
 *
 * stderr: munmap_chunk(): invalid pointer
 * or:     free(): invalid pointer
 * or:     free(): invalid size
 * or:     free(): invalid next size (normal)
 * or:     free(): invalid next size (fast)
 * or:     free(): double free detected in tcache 2
 * or:     double free or corruption (!prev)
 * or:     double free or corruption (top)
 * or:     double free or corruption (out)
 * or:     double free or corruption (fasttop)
 * or:     corrupted size vs. prev_size
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(1024 * 1024);
    *header_of(p) -= 4096;
    free(p);
    survived(NULL, 0);
}
