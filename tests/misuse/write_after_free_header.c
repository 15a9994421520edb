/* Overwrites the header of a cached chunk with letters and allocates that
 * size again.
 *
 * Where the header of a cached chunk is written anew at malloc, the damage
 * is repaired and there is nothing to report.
 *
 * stderr: free(): invalid pointer
 * or:     malloc(): unaligned tcache chunk detected
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
 * or:     free(): invalid size
 * or:     free(): invalid next size (normal)
 * or:     free(): invalid next size (fast)
 * or:     free(): double free detected in tcache 2
 * or:     double free or corruption (!prev)
 * or:     double free or corruption (top)
 * or:     double free or corruption (out)
 * or:     double free or corruption (fasttop)
 * or:     munmap_chunk(): invalid pointer
 * limit: a cached chunk's header is not read back before it is written
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *a = malloc(40), *b = malloc(40), *c = malloc(40);
    free(a);
    free(b);
    memset(header_of(b), 'A', 8);
    free(malloc(40));
    free(malloc(40));
    survived(c, 40);
}
