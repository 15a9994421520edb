/* Frees a pointer into zero-initialised static memory.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

static char zeroed[64] __attribute__((aligned(16)));

int main(void)
{
    free(opaque(zeroed + 16));
    survived(NULL, 0);
}
