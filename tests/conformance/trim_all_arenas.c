/* malloc_trim reaches the heaps of other threads that sleep, their tops
 * included.
 */
#include "check.h"
#include <pthread.h>

static pthread_barrier_t barrier;

static void *work(void *unused)
{
    enum { N = 300, SIZE = 50000 };
    static __thread char *p[N];
    for (int i = 0; i < N; i++) {
        p[i] = malloc(SIZE);
        memset(p[i], 1, SIZE);
    }
    for (int i = 0; i < N - 1; i++)
        free(p[i]);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < SIZE; i++)
        CHECK(p[N - 1][i] == 1);
    free(p[N - 1]);
    return unused;
}

int main(void)
{
    pthread_t t[4];
    pthread_barrier_init(&barrier, NULL, 5);
    for (int i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, work, NULL);
    pthread_barrier_wait(&barrier);
    malloc_trim(0);
    CHECK(resident_kib() < 12 * 1024); /* of 60 MB */
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    return 0;
}
