/* Frees p + 1.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(64);
    memset(p, 0, 64);
    free(p + 1);
    survived(p, 64);
}
