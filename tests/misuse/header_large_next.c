/* Overwrites the header behind a 60,000-byte chunk with eight letters; then
 * frees the chunk.
 *
 * Where the freed chunk is cached and its neighbour not looked at, the
 * neighbour's own free reports it.
 *
 * stderr: free(): invalid next size (normal)
 * or:     free(): invalid size
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *a = malloc(60000), *b = malloc(60000), *c = malloc(60000);
    memcpy(header_after(b), "AAAAAAAA", 8);
    free(b);
    free(c);
    survived(a, 60000);
}
