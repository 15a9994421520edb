/* Frees p - 64 of a chunk from memalign: a pointer into what was cut off in
 * front of it.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = memalign(4096, 512);
    free(p - 64);
    survived(p, 512);
}
