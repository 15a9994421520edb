/* Overwrites the four lowest bytes of a chunk's header with a small integer,
 * by the chunk before it; then frees it.
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
    uint32_t five = 5;
    memcpy(a + 40, &five, 4);
    free(b);
    survived(c, 40);
}
