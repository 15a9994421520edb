/* alloc_patterns: ten small blocks in a row, a large one, all freed in
 * reverse; then the small ones again.
 *
 * Freed blocks stay in the process: the second round gets the same addresses
 * without a call to the kernel.
 */
#include <stdio.h>
#include <stdlib.h>

enum { BLOCKS = 10 };

int main(void)
{
    char *first[BLOCKS], *second[BLOCKS];

    puts("small, from the heap:");
    for (int i = 0; i < BLOCKS; i++) {
        first[i] = malloc(64);
        if (!first[i])
            return EXIT_FAILURE;
        printf("  malloc(64)    = %p\n", (void *)first[i]);
    }
    puts("large, from a mapping:");
    char *large = malloc(1024 * 1024);
    printf("  malloc(1 MiB) = %p\n", (void *)large);

    free(large);
    for (int i = BLOCKS; i-- > 0;)
        free(first[i]);

    int same = 0;
    for (int i = 0; i < BLOCKS; i++) {
        second[i] = malloc(64);
        same += second[i] == first[i];
    }
    printf("again: %d of %d at the address they had\n", same, BLOCKS);
    for (int i = 0; i < BLOCKS; i++)
        free(second[i]);
    return EXIT_SUCCESS;
}
