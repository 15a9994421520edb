/* Frees an address where nothing is mapped.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *m = mmap(NULL, 1024 * 1024, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(m, 1024 * 1024);
    free(m + 8192 + 16);
    survived(NULL, 0);
}
