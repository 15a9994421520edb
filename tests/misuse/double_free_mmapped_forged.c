/* Frees a 1 MiB chunk, maps pages of the program's own at its address with a
 * copy of the old contents, header included, and frees it again.
 *
 * By-construction checks only: no allocator that trusts the header can see
 * this.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    static char copy[8192];
    char *p = malloc(1024 * 1024);
    char *page = (char *)((uintptr_t)p & ~(uintptr_t)4095);
    memcpy(copy, page, sizeof copy);
    free(p);
    if (mmap(page, 1024 * 1024 + 4096, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != page)
        return 2;
    memcpy(page, copy, sizeof copy);
    free(p);
    memset(page, 1, 4096); /* gone with the munmap if the free went through */
    survived(NULL, 0);
}
