/* Frees a string literal.
 *
 * stderr: munmap_chunk(): invalid pointer
 * or:     free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    static const char text[64] __attribute__((aligned(16))) = "the quick brown fox jumps over the lazy dog";
    free(opaque(text + 16));
    survived(NULL, 0);
}
