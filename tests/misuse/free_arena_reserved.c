/* Frees a pointer to the reserved part of a secondary heap, which has no
 * access rights yet.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

static pthread_barrier_t barrier;
static char *volatile shared;

static void *own(void *unused)
{
    (void)unused;
    shared = malloc(100);
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
    free((void *)(((uintptr_t)shared & ~(uintptr_t)0x3ffffff) + (60l << 20) + 16));
    survived(shared, 100);
}
