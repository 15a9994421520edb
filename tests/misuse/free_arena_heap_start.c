/* Frees a pointer to the start of a secondary heap, where its own header is.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = from_elsewhere(100);
    free(heap_of(p) + 16);
    survived(p, 100);
}
