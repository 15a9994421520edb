/* Frees a chunk of 1200 bytes again after its size has been through caches
 * and bins many times, while its own copy was kept out by a full cache.
 *
 * stderr: free(): double free detected in tcache 2
 * or:     free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    static char *p[400], *guard[400];
    for (int i = 0; i < 400; i++) {
        p[i] = malloc(1200);
        guard[i] = malloc(32);
    }
    for (int i = 0; i < 400; i++)
        free(p[i]);
    for (int i = 0; i < 100000; i++)
        free(malloc(1 + random_word() % 1000));
    free(p[7]);
    survived(guard[0], 32);
}
