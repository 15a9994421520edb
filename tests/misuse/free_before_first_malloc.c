/* Frees a wild pointer as the program's first use of the heap.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    static char zeroed[64] __attribute__((aligned(16)));
    free(opaque(zeroed + 32));
    survived(NULL, 0);
}
