/* Frees a pointer to an initialised global.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

static char global[64] __attribute__((aligned(16))) = "an initialised global variable";

int main(void)
{
    free(opaque(global + 16));
    survived(NULL, 0);
}
