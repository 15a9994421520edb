/* Overwrites the size that a free 60,000-byte chunk keeps at its end (a
 * write after free); then frees the chunk behind it, which merges with it.
 *
 * stderr: corrupted size vs. prev_size while consolidating
 * or:     corrupted size vs. prev_size
 * or:     corrupted double-linked list
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
    static char *p[20];
    for (int i = 0; i < 20; i++)
        p[i] = malloc(60000);
    free(p[4]);
    memset(header_of(p[5]) - 1, 'A', 8);
    for (int i = 5; i < 20; i++)
        free(p[i]);
    malloc_trim(0);
    survived(p[0], 60000);
}
