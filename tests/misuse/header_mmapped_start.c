/* Overwrites the word in front of the header of a chunk that has a mapping
 * of its own, which says how far back the mapping starts; then frees it.
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
    char *before = mmap(NULL, 1024 * 1024, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *p = malloc(1024 * 1024);
    header_of(p)[-1] = 4096;
    free(p);
    survived(before, 1024 * 1024);
}
