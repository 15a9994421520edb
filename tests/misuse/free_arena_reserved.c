/* Frees a pointer to the reserved part of a secondary heap, which has no
 * access rights yet.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = from_elsewhere(100);
    free(heap_of(p) + (60l << 20) + 16);
    survived(p, 100);
}
