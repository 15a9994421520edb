/* Frees a 64 KiB-aligned chunk of 1 MiB twice.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = aligned_alloc(65536, 1024 * 1024);
    free(p);
    free(p);
    survived(NULL, 0);
}
