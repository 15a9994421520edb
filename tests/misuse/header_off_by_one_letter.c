/* Overwrites the lowest byte of a chunk's header with a letter, by the chunk
 * before it; then frees it.
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
    a[40] = 'A';
    free(b);
    survived(c, 40);
}
