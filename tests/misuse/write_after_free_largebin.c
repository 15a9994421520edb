/* Writes letters over the list pointers of 20,000-byte chunks that have gone
 * to a large bin; then allocates that size.
 *
 * stderr: corrupted double-linked list
 * or:     malloc(): unaligned tcache chunk detected
 * or:     malloc(): unaligned fastbin chunk detected
 * or:     malloc(): corrupted unsorted chunks
 * or:     malloc(): unsorted double linked list corrupted
 * or:     malloc(): smallbin double linked list corrupted
 * or:     malloc(): largebin double linked list corrupted (nextsize)
 * or:     malloc(): largebin double linked list corrupted (bk)
 * or:     malloc(): largebin double linked list corrupted
 * or:     corrupted double-linked list (not small)
 * or:     malloc(): invalid size (unsorted)
 * or:     malloc(): mismatching next->prev_size (unsorted)
 * or:     malloc(): invalid next size (unsorted)
 * or:     malloc(): invalid next->prev_inuse (unsorted)
 * or:     corrupted size vs. prev_size
 * or:     malloc(): corrupted top size
 * or:     malloc(): memory corruption (fast)
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
    static char *p[60], *guard[60];
    for (int i = 0; i < 60; i++) {
        p[i] = malloc(100000 + 16 * i);
        guard[i] = malloc(100);
    }
    for (int i = 0; i < 60; i++)
        free(p[i]);
    malloc(120000);
    for (int i = 0; i < 60; i++)
        memset(p[i], 'A', 32);
    for (int i = 0; i < 60; i++)
        malloc(100000);
    survived(guard[0], 100);
}
