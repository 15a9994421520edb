/* Frees p + 64 of a live chunk whose contents look like a chunk of size 0x31
 * of glibc there, with a sound neighbour behind it.
 *
 * The "house of spirit" inside the heap: glibc believes it.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(8192);
    memset(p, 0, 8192);
    *header_of(p + 64) = 0x31;
    *header_of(p + 64 + (0x31 & ~15)) = 0x101;
    *header_of(p + 64 + (0x31 & ~15) + 0x100) = 0x101;
    free(p + 64);
    survived(p, 8192);
}
