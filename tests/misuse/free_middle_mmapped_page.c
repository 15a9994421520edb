/* Frees a pointer into a later page of a chunk that has a mapping of its
 * own; the contents look like the mapping's header.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(1024 * 1024);
    memset(p, 0, 1024 * 1024);
    memcpy(p + 8192 - 16, p - 16, 16);
    free(p + 8192);
    survived(p, 8000);
}
