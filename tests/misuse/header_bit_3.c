/* Sets bit 3 of a chunk's header, which no size has, by the chunk before it;
 * then frees it.
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
    *header_of(b) |= 8;
    free(b);
    survived(c, 40);
}
