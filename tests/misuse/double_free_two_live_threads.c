/* A thread frees a chunk of the main thread and lives on, so that the chunk
 * may still wait in a batch for its owner; then the main thread frees it
 * again.
 *
 * stderr: free(): double free detected in tcache 2
 * signal: SIGABRT
 */
#include "misuse.h"

static pthread_barrier_t barrier;

static void *free_and_wait(void *p)
{
    free(p);
    pthread_barrier_wait(&barrier);
    pause();
    return NULL;
}

int main(void)
{
    char *p = malloc(32);
    pthread_t t;
    pthread_barrier_init(&barrier, NULL, 2);
    pthread_create(&t, NULL, free_and_wait, p);
    pthread_barrier_wait(&barrier);
    free(p);
    survived(NULL, 0);
}
