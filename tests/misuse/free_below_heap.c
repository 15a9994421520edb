/* Frees a pointer in front of the first chunk of the heap.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *start = sbrk(0);
    char *p = malloc(32);
    free(start);
    survived(p, 32);
}
