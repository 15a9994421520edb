/* Writes letters over chunks of 500 bytes that have gone to a small bin;
 * then allocates that size until they come.
 *
 * stderr: malloc(): unaligned tcache chunk detected
 * or:     malloc(): smallbin double linked list corrupted
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    enum { N = 8000 };
    static char *p[N];
    for (int i = 0; i < N; i++)
        p[i] = malloc(500);
    for (int i = 0; i < N; i += 2) /* no two neighbours: nothing merges */
        free(p[i]);
    malloc_trim(0);
    malloc(120000); /* caches flushed, the unsorted list sorted into its bins */
    for (int i = 0; i < N - 20; i += 2) /* the last ones stay in glibc's thread cache */
        memset(p[i], 'A', 16);
    for (int i = 0; i < N; i++)
        malloc(500);
    survived(p[1], 500);
}
