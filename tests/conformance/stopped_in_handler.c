/* Threads are stopped by a signal whose handler sleeps, as collectors stop the
 * world: in the middle of malloc and free as often as not. The idle helper looks
 * at sleeping threads meanwhile, and must not take what a stopped thread is in
 * the middle of. Afterwards every block still holds its pattern.
 */
#include "check.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 4, BLOCKS = 400, ROUNDS = 6 };

static volatile int stop;

static void sleep_ms(long ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&t, &t) != 0) {
    }
}

static void stopped(int signal) {
    (void)signal;
    sleep_ms(700); /* longer than the helper's tick */
}

static void *work(void *seed) {
    static _Thread_local unsigned char *blocks[BLOCKS];
    static _Thread_local size_t sizes[BLOCKS];
    unsigned x = (unsigned)(size_t)seed * 2654435761u + 1;
    while (!stop) {
        x ^= x << 13, x ^= x >> 17, x ^= x << 5;
        size_t i = x % BLOCKS;
        if (blocks[i] != NULL) {
            CHECK(blocks[i][0] == (unsigned char)sizes[i]);
            CHECK(blocks[i][sizes[i] - 1] == (unsigned char)sizes[i]);
            free(blocks[i]);
            blocks[i] = NULL;
        } else {
            sizes[i] = 1 + x / BLOCKS % 900;
            blocks[i] = malloc(sizes[i]);
            CHECK(blocks[i] != NULL);
            memset(blocks[i], (int)sizes[i], sizes[i]);
        }
    }
    for (int i = 0; i < BLOCKS; i++) free(blocks[i]);
    return NULL;
}

/* Leaves free pages behind, so that the helper has a reason to run. */
static void burst(void) {
    static void *blocks[2000];
    for (int i = 0; i < 2000; i++) {
        blocks[i] = malloc(3000);
        memset(blocks[i], 1, 3000);
    }
    for (int i = 0; i < 2000; i++) free(blocks[i]);
}

int main(void) {
    struct sigaction action = {.sa_handler = stopped, .sa_flags = SA_RESTART};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        CHECK(pthread_create(&threads[i], NULL, work, (void *)(i + 1)) == 0);
    }
    for (int round = 0; round < ROUNDS; round++) {
        sleep_ms(20);
        burst();
        for (int i = 0; i < THREADS; i++) pthread_kill(threads[i], SIGUSR1);
        sleep_ms(1200);
    }
    stop = 1;
    for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    return 0;
}
