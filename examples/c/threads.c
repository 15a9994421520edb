/* threads: each thread allocates from an arena of its own, whose heap starts
 * at a multiple of 64 MiB; the main thread's is the break. Blocks may be
 * freed by any thread: they find their way home.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 4, BLOCKS = 10000 };
static char *block[THREADS][BLOCKS];

static void *fill(void *number)
{
    char **mine = block[(intptr_t)number];
    for (int i = 0; i < BLOCKS; i++) {
        mine[i] = malloc(100);
        if (mine[i])
            memset(mine[i], (int)(intptr_t)number, 100);
    }
    return NULL;
}

/* Frees what the next thread has allocated. */
static void *empty(void *number)
{
    char **theirs = block[((intptr_t)number + 1) % THREADS];
    for (int i = 0; i < BLOCKS; i++)
        free(theirs[i]);
    return NULL;
}

static int in_threads(void *(*work)(void *))
{
    pthread_t thread[THREADS];
    for (intptr_t i = 0; i < THREADS; i++)
        if (pthread_create(&thread[i], NULL, work, (void *)i) != 0)
            return 0;
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    return 1;
}

int main(void)
{
    char *main_block = malloc(100);
    printf("main      %p\n", (void *)main_block);
    if (!in_threads(fill))
        return EXIT_FAILURE;
    for (int i = 0; i < THREADS; i++)
        printf("thread %d  %p, its heap starts at %#lx\n", i, (void *)block[i][0],
               (unsigned long)block[i][0] & ~0x3fffffful);
    if (!in_threads(empty))
        return EXIT_FAILURE;
    puts("each has freed the blocks of the next");
    free(main_block);
    return EXIT_SUCCESS;
}
