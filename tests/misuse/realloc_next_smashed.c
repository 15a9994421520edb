/* Overwrites the header behind a 60,000-byte chunk with letters and makes
 * the chunk larger with realloc, then frees its neighbour.
 *
 * stderr: realloc(): invalid next size
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(60000), *next = malloc(60000), *guard = malloc(100);
    memset(header_after(p), 'A', 8);
    char *q = realloc(p, 90000);
    free(next);
    survived(guard, 100);
    (void)q;
}
