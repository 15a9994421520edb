/* one_heap.h: eight threads at once, and whose heap they get. */
#include "check.h"
#include <pthread.h>

static char *start;
static pthread_barrier_t barrier;

static void *work(void *unused)
{
    char *p = malloc(3000);
    int inside = p > start && p < (char *)sbrk(0);
    pthread_barrier_wait(&barrier);
    free(p);
    return inside ? start : unused;
}

/* All threads' chunks lie in the main heap. */
static int one_heap(void)
{
    start = sbrk(0);
    pthread_t t[8];
    pthread_barrier_init(&barrier, NULL, 8);
    for (int i = 0; i < 8; i++)
        pthread_create(&t[i], NULL, work, NULL);
    for (int i = 0; i < 8; i++) {
        void *inside;
        pthread_join(t[i], &inside);
        CHECK(inside != NULL);
    }
    return 0;
}
