/* MALLOC_ARENA_MAX=1: all threads share the main heap.
 *
 * env: MALLOC_ARENA_MAX=1
 */
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

int main(void)
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
