/* Frees a, b and a again while glibc's thread cache is full: the cycle in a
 * fastbin that glibc's look at the top alone cannot see.
 *
 * stderr: free(): double free detected in tcache 2
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *fill[7], *a, *b;
    for (int i = 0; i < 7; i++)
        fill[i] = malloc(32);
    a = malloc(32);
    b = malloc(32);
    for (int i = 0; i < 7; i++)
        free(fill[i]);
    free(a);
    free(b);
    free(a);
    survived(NULL, 0);
}
