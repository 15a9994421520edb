/* Frees the start of a mapping of the program's own whose page below is not
 * mapped: the header would be at p - 8.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *m = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(m, 4096);
    free(m + 4096);
    survived(NULL, 0);
}
