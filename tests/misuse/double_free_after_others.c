/* Frees a small chunk again after three frees of other chunks of its size.
 *
 * stderr: free(): double free detected in tcache 2
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(32), *a = malloc(32), *b = malloc(32), *c = malloc(32);
    free(p);
    free(a);
    free(b);
    free(c);
    free(p);
    survived(NULL, 0);
}
