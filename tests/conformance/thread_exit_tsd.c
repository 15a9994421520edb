/* Destructors of thread-specific data free and allocate while their thread
 * ends, several rounds of them, after the allocator's own hook may have run.
 */
#include "check.h"
#include <pthread.h>

enum { KEYS = 20, THREADS = 200 };
static pthread_key_t key[KEYS];

static void destroy(void *p)
{
    size_t i = *(size_t *)p;
    CHECK(i < KEYS);
    for (int k = 0; k < 30; k++)
        free(malloc(1 + k * 97));
    free(p);
    static __thread int rounds;
    if (rounds++ < 2 * KEYS) { /* set again: PTHREAD_DESTRUCTOR_ITERATIONS */
        size_t *again = malloc(200 + i);
        *again = i;
        pthread_setspecific(key[i], again);
    }
}

static void *work(void *unused)
{
    for (size_t i = 0; i < KEYS; i++) {
        size_t *p = malloc(100 + i * 64);
        *p = i;
        pthread_setspecific(key[i], p);
    }
    return unused;
}

int main(void)
{
    for (int i = 0; i < KEYS; i++)
        CHECK(pthread_key_create(&key[i], destroy) == 0);
    for (int round = 0; round < THREADS / 4; round++) {
        pthread_t t[4];
        for (int i = 0; i < 4; i++)
            CHECK(pthread_create(&t[i], NULL, work, NULL) == 0);
        for (int i = 0; i < 4; i++)
            pthread_join(t[i], NULL);
    }
    return 0;
}
