/* Threads get arenas of their own: heaps that start at multiples of 64 MiB,
 * never more than 64 a core, nor 1024; memory allocated there may be freed anywhere.
 */
#include "check.h"
#include <pthread.h>
#include <sched.h>

enum { THREADS = 200 }; /* more than that on up to three cores */
static pthread_barrier_t barrier;
static void *block[THREADS];

static void *work(void *index)
{
    size_t i = (size_t)index;
    block[i] = malloc(100);
    memset(block[i], (int)i, 100);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    free(block[(i + 1) % THREADS]);
    return NULL;
}

int main(void)
{
    char *start = sbrk(0);
    pthread_t t[THREADS];
    pthread_barrier_init(&barrier, NULL, THREADS + 1);
    malloc(1);
    for (size_t i = 0; i < THREADS; i++)
        pthread_create(&t[i], NULL, work, (void *)i);
    pthread_barrier_wait(&barrier);
    uintptr_t heap[THREADS];
    size_t heaps = 0, main_heap = 0;
    for (int i = 0; i < THREADS; i++) {
        for (int k = 0; k < 100; k++)
            CHECK(((char *)block[i])[k] == (char)i);
        if ((char *)block[i] > start && (char *)block[i] < (char *)sbrk(0)) {
            main_heap++;
            continue;
        }
        uintptr_t base = (uintptr_t)block[i] & ~(uintptr_t)0x3ffffff;
        CHECK((((uint64_t *)block[i])[-1] & 4) == 4); /* the A flag */
        size_t k = 0;
        while (k < heaps && heap[k] != base)
            k++;
        if (k == heaps)
            heap[heaps++] = base;
    }
    cpu_set_t cpus;
    sched_getaffinity(0, sizeof cpus, &cpus);
    CHECK(heaps >= 1);
    CHECK(heaps + 1 <= 64 * (size_t)CPU_COUNT(&cpus));
    CHECK(heaps + 1 <= 1024);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    return 0;
}
