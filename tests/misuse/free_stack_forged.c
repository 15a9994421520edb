/* Frees a pointer to a local buffer that was made to look like a small chunk
 * with a neighbour (the "house of spirit").
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    uint64_t fake[16] __attribute__((aligned(16))) = {0};
    fake[1] = 0x41;
    fake[9] = 0x1001;
    free(opaque(&fake[2]));
    survived(fake + 2, 48);
}
