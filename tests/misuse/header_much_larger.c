/* Overwrites the header of a chunk with a large size that glibc would take
 * (0x1001), by the chunk before it; then frees it.
 *
 * stderr: double free or corruption (!prev)
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *a = malloc(40), *b = malloc(40), *c = malloc(40);
    if (header_after(a) != header_of(b))
        return 2;
    *header_of(b) = 0x1001;
    free(b);
    survived(c, 40);
}
