/* Frees a pointer to a local variable.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char buffer[64] __attribute__((aligned(16))) = {0};
    free(opaque(buffer + 16));
    survived(NULL, 0);
}
