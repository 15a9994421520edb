/* Calls realloc with a pointer to a local variable.
 *
 * stderr: realloc(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char buffer[64] __attribute__((aligned(16))) = {0};
    char *p = realloc(opaque(buffer + 16), 100);
    survived(p, 100);
}
