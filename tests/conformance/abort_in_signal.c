/* A signal handler calls abort() in the middle of a malloc storm: the process
 * dies of SIGABRT, it does not hang on a lock.
 *
 * signal: SIGABRT
 */
#include "check.h"
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>

static void handler(int signal)
{
    (void)signal;
    abort();
}

_Noreturn static void *storm(void *seed)
{
    uint64_t state = (uintptr_t)seed;
    void *p[300] = {0};
    for (;;) {
        int i = next_random(&state) % 300;
        free(p[i]);
        p[i] = malloc(next_random(&state) % 100000);
    }
}

int main(void)
{
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    signal(SIGPROF, handler);
    pthread_t t;
    pthread_create(&t, NULL, storm, (void *)5);
    struct itimerval soon = {{0, 0}, {0, 200000}};
    setitimer(ITIMER_PROF, &soon, NULL);
    storm((void *)7);
}
