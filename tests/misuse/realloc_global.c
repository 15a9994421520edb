/* Calls realloc with a pointer to a global.
 *
 * stderr: realloc(): invalid old size
 * or:     realloc(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

static char global[64] __attribute__((aligned(16))) = "an initialised global variable";

int main(void)
{
    char *p = realloc(opaque(global + 16), 100);
    survived(p, 100);
}
