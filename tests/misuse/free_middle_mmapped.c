/* Frees a pointer 16 bytes into a chunk that has a mapping of its own.
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
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(1024 * 1024);
    memset(p, 0, 1024 * 1024);
    free(p + 16);
    survived(p, 1024 * 1024);
}
