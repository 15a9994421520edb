/* Frees a pointer to a thread-local variable.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

static __thread char mine[64] __attribute__((aligned(16)));

int main(void)
{
    free(opaque(mine + 16));
    survived(NULL, 0);
}
