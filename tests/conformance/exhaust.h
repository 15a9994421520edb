/* exhaust.h: the heap runs out at requests of every size, in the main thread
 * and in others: NULL and ENOMEM, no crash; what lives stays whole; after some
 * of it is freed, or the limit is lifted, allocation goes on.
 */
#include "check.h"
#include <pthread.h>
#include <sys/resource.h>

static pthread_barrier_t barrier;

static void *exhaust(void *unused)
{
    static const size_t size[] = {16, 100, 1000, 10000, 100000, 1000000, 10000000};
    for (int i = 6; i >= 0; i--) {
        void **list = NULL;
        size_t count = 0;
        for (;;) {
            errno = 0;
            void **p = i % 2 ? malloc(size[i]) : calloc(1, size[i]);
            if (!p) {
                CHECK(errno == ENOMEM);
                break;
            }
            memset(p, 0x11, size[i]);
            *p = list;
            list = p;
            CHECK(++count < 50000000);
        }
        /* glibc keeps 32-byte chunks in fastbins, out of other arenas' reach. */
        CHECK(count > 0 || size[i] > 1000000 || !on_heapwise());
        if (list) {
            errno = 0;
            CHECK(realloc(list, 400 << 20) == NULL);
            CHECK(errno == ENOMEM);
        }
        while (list) {
            void **next = *list;
            CHECK(((unsigned char *)list)[size[i] - 1] == 0x11);
            free(list);
            list = next;
        }
        void *p = malloc(size[i]);
        CHECK(p != NULL || size[i] > 1000000 || !on_heapwise());
        free(p);
    }
    return unused;
}

static void *exhaust_later(void *unused)
{
    pthread_barrier_wait(&barrier);
    return exhaust(unused);
}

/* In the main thread and in another, under a limit of 300 MiB on `resource`. */
static int exhausted(int resource)
{
    unsigned char *kept = malloc(5000);
    memset(kept, 0x77, 5000);
    pthread_t t;
    pthread_barrier_init(&barrier, NULL, 2);
    CHECK(pthread_create(&t, NULL, exhaust_later, NULL) == 0);
    struct rlimit old, tight = {300 << 20, RLIM_INFINITY};
    getrlimit(resource, &old);
    tight.rlim_max = old.rlim_max;
    CHECK(setrlimit(resource, &tight) == 0);
    exhaust(NULL);
    pthread_barrier_wait(&barrier);
    pthread_join(t, NULL);
    CHECK(setrlimit(resource, &old) == 0);
    void *big = malloc(500 << 20);
    CHECK(big != NULL);
    free(big);
    for (int i = 0; i < 5000; i++)
        CHECK(kept[i] == 0x77);
    free(kept);
    return 0;
}
