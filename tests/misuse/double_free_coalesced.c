/* Frees two neighbours of 4000 bytes, which merge, and then the second of
 * them again.
 *
 * stderr: double free or corruption (!prev)
 * or:     free(): double free detected in tcache 2
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *a = malloc(4000), *b = malloc(4000), *guard = malloc(4000);
    free(a);
    free(b);
    free(b);
    survived(guard, 4000);
}
