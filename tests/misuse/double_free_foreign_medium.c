/* Two threads free the same 20,000-byte chunk of a third, whose arena is not
 * the main one.
 *
 * stderr: double free or corruption (out)
 * or:     free(): double free detected in tcache 2
 * signal: SIGABRT
 */
#include "misuse.h"

static pthread_barrier_t barrier;
static void *volatile shared;

static void *own(void *unused)
{
    (void)unused;
    shared = malloc(20000);
    malloc(20000);
    pthread_barrier_wait(&barrier);
    pause();
    return NULL;
}

int main(void)
{
    pthread_t t;
    pthread_barrier_init(&barrier, NULL, 2);
    pthread_create(&t, NULL, own, NULL);
    pthread_barrier_wait(&barrier);
    in_thread(free_in_thread, shared);
    in_thread(free_in_thread, shared);
    survived(NULL, 0);
}
