/* Sets the M flag in the header of a chunk, by the chunk before it; then
 * frees it.
 *
 * stderr: munmap_chunk(): invalid pointer
 * or:     free(): invalid size
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *a = malloc(40), *b = malloc(40), *c = malloc(40);
    if (header_after(a) != header_of(b))
        return 2;
    *header_of(b) |= 2;
    free(b);
    survived(c, 40);
}
