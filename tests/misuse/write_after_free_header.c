/* Overwrites the header of a cached chunk with letters and allocates that
 * size again.
 *
 * stderr: double free or corruption (out)
 * or:     free(): invalid size
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *a = malloc(40), *b = malloc(40), *c = malloc(40);
    free(a);
    free(b);
    memset(header_of(b), 'A', 8);
    free(malloc(40));
    free(malloc(40));
    survived(c, 40);
}
