/* One arena per thread: eight threads need the same memory one after the other, and each arena
 * keeps it, pinned by one block that stays. The cure: fewer arenas. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A block, written as a whole; the compiler is not to see through it. */
static void *fresh(size_t bytes) {
    void *block = memset(malloc(bytes), 1, bytes);
    __asm__ volatile("" : : "r"(block) : "memory");
    return block;
}

enum { THREADS = 8, BLOCKS = 2000, BYTES = 3000 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t all;
static void *kept[THREADS];

static void *work(void *argument) {
    long index = (long)argument;
    static void *blocks[BLOCKS];
    pthread_barrier_wait(&all);
    pthread_mutex_lock(&lock);
    for (int i = 0; i < BLOCKS; i++) blocks[i] = fresh(BYTES);
    kept[index] = fresh(100);
    for (int i = 0; i < BLOCKS; i++) free(blocks[i]);
    usleep(10 * 1000);
    pthread_mutex_unlock(&lock);
    pthread_barrier_wait(&all);
    return NULL;
}

int main(void) {
    pthread_t threads[THREADS];
    pthread_barrier_init(&all, NULL, THREADS);
    for (long i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, work, (void *)i);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    return 0;
}
