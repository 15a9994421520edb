/* Sets the M flag in the header of a chunk, by the chunk before it; then
 * frees it.
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
 * or:     corrupted size vs. prev_size while consolidating
 * or:     malloc(): corrupted top size
 * or:     malloc(): invalid size (unsorted)
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *a = malloc(40), *b = malloc(40), *c = malloc(40);
    if (header_after(a) != header_of(b))
        return 2;
    *header_of(b) |= 2;
    free(b);
    survived(c, 40);
}
