/* Frees a pointer into the middle of a zeroed mapping of the program's own.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *m = mmap(NULL, 1024 * 1024, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    free(m + 512 * 1024 + 16);
    survived(NULL, 0);
}
