/* Frees a string literal.
 *
 * stderr: free(): invalid pointer
 * or:     munmap_chunk(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    static const char text[64] __attribute__((aligned(16))) = "the quick brown fox jumps over the lazy dog";
    free(opaque(text + 16));
    survived(NULL, 0);
}
