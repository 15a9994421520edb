/* Frees p + 16 of a live chunk that holds a list node: a small count and a
 * pointer.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    uint64_t *p = malloc(64);
    p[0] = 1;
    p[1] = 32;
    p[2] = (uint64_t)p;
    free(p + 2);
    survived(p, 64);
}
