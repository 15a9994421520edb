/* Frees what getenv returned.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    setenv("HEAPWISE_TEST", "x", 1);
    char *path = getenv("PATH");
    free(opaque((void *)((uintptr_t)path & ~(uintptr_t)15)));
    survived(NULL, 0);
}
