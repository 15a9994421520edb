/* Frees a pointer into the wilderness, a page below the break, memory that
 * no chunk has ever had.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(32);
    free((char *)(((uintptr_t)sbrk(0) & ~(uintptr_t)4095) - 4096 + 16));
    survived(p, 32);
}
