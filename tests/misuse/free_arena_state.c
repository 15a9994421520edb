/* Frees a pointer to the arena's own state at the head of a secondary heap.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = from_elsewhere(100);
    free(heap_of(p) + 0x40 + 16);
    survived(p, 100);
}
