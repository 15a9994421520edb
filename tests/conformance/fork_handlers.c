/* Handlers of pthread_atfork may allocate, before, in the parent and in the
 * child, whether they were set before or after the first malloc.
 */
#include "check.h"
#include <pthread.h>
#include <sys/wait.h>

static void *kept;

static void use_heap(void)
{
    free(kept);
    kept = malloc(500);
    for (int i = 0; i < 200; i++)
        free(malloc(i * 30));
}

__attribute__((constructor(101))) static void early(void)
{
    pthread_atfork(use_heap, use_heap, use_heap);
}

static void *work(void *unused)
{
    for (int i = 0; i < 100000; i++)
        free(malloc(i % 3000));
    return unused;
}

int main(void)
{
    alarm(50);
    pthread_atfork(use_heap, use_heap, use_heap);
    pthread_t t[2];
    for (int i = 0; i < 2; i++)
        pthread_create(&t[i], NULL, work, NULL);
    for (int i = 0; i < 50; i++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            alarm(20);
            use_heap();
            _exit(0);
        }
        int status;
        CHECK(waitpid(pid, &status, 0) == pid);
        CHECK(status == 0);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    return 0;
}
