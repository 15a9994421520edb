/* Overwrites the header of a chunk with a plausible larger size of glibc
 * (0x61 for 0x31), by the chunk before it; then frees it.
 *
 * stderr: free(): double free detected in tcache 2
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *a = malloc(40), *b = malloc(40), *c = malloc(40);
    if (header_after(a) != header_of(b))
        return 2;
    *header_of(b) = 0x61;
    free(b);
    survived(c, 40);
}
