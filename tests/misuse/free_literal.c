/* Frees a string literal where the compiler has put it, aligned or not.
 *
 * stderr: free(): invalid pointer
 * or:     munmap_chunk(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    free(opaque("the quick brown fox jumps over the lazy dog"));
    survived(NULL, 0);
}
