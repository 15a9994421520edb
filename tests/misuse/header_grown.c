/* Adds 32 to the size in the header of a chunk and leaves all else as it is,
 * by the chunk before it; then frees it.
 *
 * stderr: free(): invalid size
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *a = malloc(40), *b = malloc(40), *c = malloc(40);
    if (header_after(a) != header_of(b))
        return 2;
    *header_of(b) += 32;
    free(b);
    survived(c, 40);
}
