/* Frees a pointer to a variable on the stack of another thread.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

static pthread_barrier_t barrier;
static char *volatile variable;

static void *show(void *unused)
{
    char buffer[64] __attribute__((aligned(16))) = {0};
    (void)unused;
    variable = buffer + 16;
    pthread_barrier_wait(&barrier);
    pause();
    return NULL;
}

int main(void)
{
    pthread_t t;
    pthread_barrier_init(&barrier, NULL, 2);
    pthread_create(&t, NULL, show, NULL);
    pthread_barrier_wait(&barrier);
    free(opaque(variable));
    survived(NULL, 0);
}
