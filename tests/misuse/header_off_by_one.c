/* Clears the lowest byte of a chunk's header, as the NUL of a string too
 * long by one does, by the chunk before it; then frees it.
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
    memset(a, 'A', 40);
    a[40] = 0;
    free(b);
    survived(c, 40);
}
