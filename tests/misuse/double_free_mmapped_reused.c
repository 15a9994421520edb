/* Frees a 1 MiB chunk, maps zero pages of the program's own at its address,
 * and frees it again.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(1024 * 1024);
    char *page = (char *)((uintptr_t)p & ~(uintptr_t)4095);
    free(p);
    if (mmap(page, 1024 * 1024, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != page)
        return 2;
    free(p);
    survived(NULL, 0);
}
