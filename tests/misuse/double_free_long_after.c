/* Frees a small chunk again after a million allocations and frees of other
 * sizes.
 *
 * stderr: free(): double free detected in tcache 2
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    static char *other[1000];
    char *p = malloc(32);
    free(p);
    for (int i = 0; i < 1000000; i++) {
        int k = random_word() % 1000;
        free(other[k]);
        other[k] = malloc(64 + random_word() % 3000);
    }
    free(p);
    survived(NULL, 0);
}
