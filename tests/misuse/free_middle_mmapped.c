/* Frees a pointer 16 bytes into a chunk that has a mapping of its own.
 *
 * stderr: free(): invalid pointer
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
