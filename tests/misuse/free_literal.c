/* Frees a string literal where the compiler has put it, aligned or not.
 *
 * stderr: munmap_chunk(): invalid pointer
 * or:     free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    free(opaque("the quick brown fox jumps over the lazy dog"));
    survived(NULL, 0);
}
