/* Writes zero bytes over the size of the wilderness; then asks for more.
 *
 * stderr: malloc(): corrupted top size
 * or:     malloc(): invalid size (unsorted)
 * or:     corrupted size vs. prev_size
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
    char *p = malloc(60000);
    memset(header_after(p), 0, 8);
    for (int i = 0; i < 8; i++)
        malloc(60000);
    free(p);
    survived(NULL, 0);
}
