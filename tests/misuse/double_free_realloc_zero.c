/* realloc(p, 0) frees; a free follows.
 *
 * stderr: free(): double free detected in tcache 2
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(32);
    void *q = realloc(p, 0);
    (void)q;
    free(p);
    survived(NULL, 0);
}
