/* A thread frees chunks of the main thread; the main thread writes letters
 * over them and allocates that size until they come.
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
 * signal: SIGABRT
 */
#include "misuse.h"

static char *p[1000];

static void *free_all(void *unused)
{
    (void)unused;
    for (int i = 0; i < 1000; i++)
        free(p[i]);
    return NULL;
}

int main(void)
{
    for (int i = 0; i < 1000; i++)
        p[i] = malloc(40);
    in_thread(free_all, NULL);
    for (int i = 0; i < 1000; i++)
        memset(p[i], 'A', 40);
    for (int i = 0; i < 5000; i++)
        malloc(40);
    survived(NULL, 0);
}
