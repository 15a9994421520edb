/* Threads with the smallest stack allowed: the allocator's deepest path fits. */
#include "check.h"
#include <limits.h>
#include <pthread.h>

static void *work(void *unused)
{
    void *p[40];
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 40; i++)
            p[i] = malloc((size_t)1 << (i % 22));
        for (int i = 0; i < 40; i++)
            p[i] = realloc(p[i], (size_t)3 << (i % 21));
        for (int i = 0; i < 40; i++)
            free(p[i]);
    }
    malloc_trim(0);
    return unused;
}

int main(void)
{
    pthread_attr_t small;
    pthread_attr_init(&small);
    CHECK(pthread_attr_setstacksize(&small, sysconf(_SC_THREAD_STACK_MIN)) == 0);
    for (int round = 0; round < 5; round++) {
        pthread_t t[8];
        for (int i = 0; i < 8; i++)
            CHECK(pthread_create(&t[i], &small, work, NULL) == 0);
        for (int i = 0; i < 8; i++)
            pthread_join(t[i], NULL);
    }
    return 0;
}
