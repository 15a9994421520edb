/* Writes a pointer to its own stack over the first word of a cached chunk
 * (the classic poisoning) and allocates that size again.
 *
 * stderr: malloc(): unaligned tcache chunk detected
 * or:     malloc(): unaligned fastbin chunk detected
 * or:     malloc(): corrupted unsorted chunks
 * or:     malloc(): unsorted double linked list corrupted
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
 * limit: the link in a cached chunk is followed unchecked: the fast path of malloc is 18 instructions
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    static uint64_t target[16] __attribute__((aligned(16)));
    char *a = malloc(40), *b = malloc(40);
    free(a);
    free(b);
    *(uint64_t **)b = target;
    for (int i = 0; i < 3; i++)
        if (malloc(40) == (void *)target)
            stolen();
    survived(NULL, 0);
}
