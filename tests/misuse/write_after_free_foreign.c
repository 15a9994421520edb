/* A thread frees chunks of the main thread; the main thread writes letters
 * over them and allocates that size until they come.
 *
 * stderr: malloc(): unaligned fastbin chunk detected
 * or:     malloc(): unaligned tcache chunk detected
 * signal: SIGABRT
 */
#include "misuse.h"

static char *p[1000];

static void *free_all(void *unused)
{
    (void)unused;
    for (int i = 0; i < 1000; i++)
        free(p[i]);
    return NULL;
}

int main(void)
{
    for (int i = 0; i < 1000; i++)
        p[i] = malloc(40);
    in_thread(free_all, NULL);
    for (int i = 0; i < 1000; i++)
        memset(p[i], 'A', 40);
    for (int i = 0; i < 5000; i++)
        malloc(40);
    survived(NULL, 0);
}
