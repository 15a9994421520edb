/* Overwrites the header of a 60,000-byte chunk with eight letters; then
 * frees it.
 *
 * stderr: double free or corruption (out)
 * or:     free(): invalid size
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *a = malloc(60000), *b = malloc(60000), *c = malloc(60000);
    uint64_t *header = header_of(b);
    memcpy(header, "AAAAAAAA", 8);
    free(b);
    survived(c, 60000);
    (void)a;
}
