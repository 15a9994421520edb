/* Frees a chunk twice, with a few other frees between, in a heap so large and in
 * such random order that frees wait; then allocates its size until it comes.
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
        block[i] = malloc(40);
    for (int i = 0; i < 1000000; i++) {
        int k = random_word() % BLOCKS;
        free(block[k]);
        block[k] = malloc(40);
    }
    char *twice = block[1];
    free(twice);
    for (int i = 2; i < 18; i++)
        free(block[i]);
    free(twice);
    for (int i = 1; i < 18; i++) {
        block[i] = malloc(40);
        if (block[i] == twice)
            break;
    }
    survived(NULL, 0);
}
