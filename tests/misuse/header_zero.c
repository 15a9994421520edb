/* Overwrites the header of a chunk with zero bytes, by the chunk before it;
 * then frees it.
 *
 * stderr: free(): invalid pointer
 * or:     free(): invalid size
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *a = malloc(40), *b = malloc(40), *c = malloc(40);
    if (header_after(a) != header_of(b))
        return 2;
    memset(a + 40, 0, 8);
    free(b);
    survived(c, 40);
}
