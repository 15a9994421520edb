/* Frees a pointer into a mapping of the program's own that looks like an
 * mmapped chunk of glibc.
 *
 * glibc unmaps what it is told to: an invalid pointer into the program's own
 * memory.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    uint64_t *m = mmap(NULL, 1024 * 1024, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    m[0] = 0;
    m[1] = (1024 * 1024) | 2;
    free(m + 2);
    if (madvise(m, 4096, MADV_NORMAL) == 0)
        survived(m, 4096);
    survived(NULL, 0);
}
