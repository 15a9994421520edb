/* Frees a pointer to a local buffer in front of which stands an exact copy
 * of a live chunk's header.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    uint64_t fake[16] __attribute__((aligned(16))) = {0};
    char *p = malloc(48);
    fake[1] = *header_of(p);
    fake[9] = *header_after(p);
    free(opaque(&fake[2]));
    survived(fake + 2, 48);
}
