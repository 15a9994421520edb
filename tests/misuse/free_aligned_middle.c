/* Frees p + 16 of a chunk from memalign.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = memalign(256, 512);
    memset(p, 0, 512);
    free(p + 16);
    survived(p, 512);
}
