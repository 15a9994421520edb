/* Frees a chunk twice in a row in a heap so large, and in such random order,
 * that frees wait until the processor has fetched the headers.
 *
 * stderr: free(): double free detected in tcache 2
 * signal: SIGABRT
 */
#include "misuse.h"

enum { BLOCKS = 400000 };

int main(void)
{
    static char *block[BLOCKS];
    for (int i = 0; i < BLOCKS; i++)
        block[i] = malloc(24 + random_word() % 40);
    for (int i = 0; i < 1000000; i++) {
        int k = random_word() % BLOCKS;
        free(block[k]);
        block[k] = malloc(24 + random_word() % 40);
    }
    free(block[1]);
    free(block[1]);
    survived(NULL, 0);
}
