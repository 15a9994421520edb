/* The child of a fork frees, twice, a chunk that another thread of the
 * parent had allocated.
 *
 * stderr: free(): double free detected in tcache 2
 * signal: SIGABRT
 */
#include "misuse.h"

static pthread_barrier_t barrier;
static void *volatile shared;

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
    pid_t child = fork();
    if (child == 0) {
        free(shared);
        free(shared);
        survived(NULL, 0);
    }
    int status;
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status)) {
        signal(WTERMSIG(status), SIG_DFL);
        raise(WTERMSIG(status));
    }
    return WEXITSTATUS(status);
}
