/* Frees a pointer into the wilderness, a page below the break, memory that
 * no chunk has ever had.
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
    char *p = malloc(32);
    free((char *)(((uintptr_t)sbrk(0) & ~(uintptr_t)4095) - 4096 + 16));
    survived(p, 32);
}
