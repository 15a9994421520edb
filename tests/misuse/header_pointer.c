/* Overwrites the header of a chunk with a pointer to the heap, by the chunk
 * before it; then frees it.
 *
 * stderr: double free or corruption (out)
 * or:     free(): invalid size
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *a = malloc(40), *b = malloc(40), *c = malloc(40);
    if (header_after(a) != header_of(b))
        return 2;
    *header_of(b) = (uintptr_t)a;
    free(b);
    survived(c, 40);
}
