/* Overwrites the header of a chunk that has a mapping of its own with eight
 * letters; then frees it.
 *
 * stderr: free(): invalid pointer
 * or:     free(): invalid size
 * or:     free(): invalid next size (normal)
 * or:     free(): invalid next size (fast)
 * or:     free(): double free detected in tcache 2
 * or:     double free or corruption (!prev)
 * or:     double free or corruption (top)
 * or:     double free or corruption (out)
 * or:     double free or corruption (fasttop)
 * or:     munmap_chunk(): invalid pointer
 * or:     corrupted size vs. prev_size
 * or:     corrupted size vs. prev_size while consolidating
 * or:     malloc(): corrupted top size
 * or:     malloc(): invalid size (unsorted)
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(1024 * 1024);
    memcpy(header_of(p), "AAAAAAAA", 8);
    free(p);
    survived(p, 4096);
}
