/* Frees a pointer into memory that the program itself took with sbrk,
 * between two pieces of the heap.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    void *a = malloc(1000);
    char *mine = sbrk(65536);
    void *b[40];
    for (int i = 0; i < 40; i++)
        b[i] = malloc(60000);
    free((void *)(((uintptr_t)mine + 4096 + 15) & ~(uintptr_t)15));
    (void)a, (void)b;
    survived(mine, 65536);
}
