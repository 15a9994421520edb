/* Frees a 64 KiB-aligned chunk of 1 MiB twice.
 *
 * stderr: munmap_chunk(): invalid pointer
 * or:     free(): invalid pointer
 * or:     double free or corruption (!prev)
 * or:     free(): double free detected in tcache 2
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
