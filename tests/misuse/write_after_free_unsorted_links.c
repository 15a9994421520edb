/* Writes letters over the two list pointers of a free 100,000-byte chunk;
 * then allocates it again.
 *
 * stderr: malloc(): unsorted double linked list corrupted
 * or:     malloc(): unaligned tcache chunk detected
 * or:     malloc(): unaligned fastbin chunk detected
 * or:     malloc(): corrupted unsorted chunks
 * or:     malloc(): smallbin double linked list corrupted
 * or:     malloc(): largebin double linked list corrupted (nextsize)
 * or:     malloc(): largebin double linked list corrupted (bk)
 * or:     malloc(): largebin double linked list corrupted
 * or:     corrupted double-linked list
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
    char *p = malloc(100000), *guard = malloc(100);
    free(p);
    memset(p, 'A', 16);
    for (int i = 0; i < 4; i++)
        malloc(100000);
    survived(guard, 100);
}
