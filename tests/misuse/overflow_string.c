/* Copies a string of 200 letters into a block of 40 bytes, over four chunks
 * behind it; then frees all.
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
    char *p[6];
    for (int i = 0; i < 6; i++)
        p[i] = malloc(40);
    memset(p[0], 'A', 200);
    for (int i = 0; i < 6; i++)
        free(p[i]);
    survived(NULL, 0);
}
