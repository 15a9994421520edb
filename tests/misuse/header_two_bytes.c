/* Overwrites the two lowest bytes of a chunk's header with letters, by the
 * chunk before it; then frees it.
 *
 * stderr: double free or corruption (!prev)
 * or:     free(): invalid size
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *a = malloc(40), *b = malloc(40), *c = malloc(40);
    if (header_after(a) != header_of(b))
        return 2;
    memcpy(a + 40, "AA", 2);
    free(b);
    survived(c, 40);
}
