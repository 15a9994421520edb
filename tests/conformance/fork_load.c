/* fork from several threads under load, 400 times: the child finds a whole
 * heap whatever the other threads were doing, allocates, starts a thread,
 * and exits. A lock held at the fork would hang it: the alarm ends that.
 *
 * seconds: 100
 */
#include "check.h"
#include <pthread.h>
#include <sys/wait.h>

enum { LOADERS = 4, FORKERS = 3, FORKS = 400 };
static volatile int stop;

static void *load(void *seed)
{
    uint64_t state = (uintptr_t)seed;
    void *p[200] = {0};
    while (!stop) {
        int i = next_random(&state) % 200;
        free(p[i]);
        size_t n = next_random(&state) % (next_random(&state) % 50 ? 2000 : 300000);
        p[i] = next_random(&state) % 4 ? malloc(n) : calloc(1, n);
    }
    for (int i = 0; i < 200; i++)
        free(p[i]);
    return NULL;
}

static void *in_child(void *unused)
{
    void *p[100];
    for (int i = 0; i < 100; i++)
        p[i] = malloc(i * 100);
    for (int i = 0; i < 100; i++)
        free(p[i]);
    return unused;
}

static void child(void **inherited)
{
    alarm(20);
    for (int i = 0; i < 50; i++)
        free(inherited[i]);
    in_child(NULL);
    free(malloc(1 << 20));
    pthread_t t;
    CHECK(pthread_create(&t, NULL, in_child, NULL) == 0);
    pthread_join(t, NULL);
    malloc_trim(0);
    _exit(0);
}

static void *forks(void *unused)
{
    for (int k = 0; k < FORKS / FORKERS; k++) {
        void *p[50];
        for (int i = 0; i < 50; i++)
            p[i] = malloc(1 + i * 60);
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0)
            child(p);
        for (int i = 0; i < 50; i++)
            free(p[i]);
        int status;
        CHECK(waitpid(pid, &status, 0) == pid);
        CHECK(status == 0);
    }
    return unused;
}

int main(void)
{
    alarm(95);
    pthread_t l[LOADERS], f[FORKERS];
    for (size_t i = 0; i < LOADERS; i++)
        pthread_create(&l[i], NULL, load, (void *)(i + 77));
    for (int i = 0; i < FORKERS; i++)
        pthread_create(&f[i], NULL, forks, NULL);
    for (int i = 0; i < FORKERS; i++)
        pthread_join(f[i], NULL);
    stop = 1;
    for (int i = 0; i < LOADERS; i++)
        pthread_join(l[i], NULL);
    return 0;
}
