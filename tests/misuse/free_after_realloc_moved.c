/* Frees the old pointer after realloc has moved the block.
 *
 * stderr: free(): double free detected in tcache 2
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(32);
    char *guard = malloc(32);
    char *q = realloc(p, 1000);
    if (q == p)
        return 2;
    free(p);
    survived(q, 1000);
    (void)guard;
}
