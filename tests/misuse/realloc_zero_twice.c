/* Calls realloc(p, 0), which frees, twice.
 *
 * stderr: free(): double free detected in tcache 2
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(64);
    void *q = realloc(p, 0);
    q = realloc(p, 0);
    survived(q, 0);
}
