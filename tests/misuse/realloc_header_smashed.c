/* Overwrites the header of a chunk with letters and calls realloc.
 *
 * stderr: realloc(): invalid old size
 * or:     free(): invalid size
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(64);
    memset(header_of(p), 'A', 8);
    char *q = realloc(p, 1000);
    survived(q, 100);
}
