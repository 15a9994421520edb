/* The library is loaded by dlopen into a program that has long been running
 * on another malloc: its own malloc works beside it, also in threads that are
 * older than it, with and without RTLD_GLOBAL.
 *
 * preload: no
 * libs: -ldl
 */
#include "check.h"
#include <dlfcn.h>
#include <pthread.h>

static void *(*their_malloc)(size_t);
static void *(*their_realloc)(void *, size_t);
static void (*their_free)(void *);
static pthread_barrier_t barrier;

static void use(void)
{
    enum { N = 500 };
    static __thread char *p[N];
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < N; i++) {
            p[i] = their_malloc(i * 30 + 1);
            CHECK(p[i] != NULL);
            memset(p[i], i, i * 30 + 1);
        }
        for (int i = 0; i < N; i++) {
            p[i] = their_realloc(p[i], i * 45 + 1);
            for (int k = 0; k < i * 30 + 1; k++)
                CHECK(p[i][k] == (char)i);
            their_free(p[i]);
        }
        free(malloc(10000)); /* the program's own goes on */
    }
    their_free(their_malloc(4 << 20));
}

static void *old_thread(void *unused)
{
    void *mine = malloc(100);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    use();
    free(mine);
    return unused;
}

static void load(int flags)
{
    void *library = dlopen(getenv("HEAPWISE_LIB"), RTLD_NOW | flags);
    if (!library)
        printf("%s\n", dlerror());
    CHECK(library != NULL);
    their_malloc = dlsym(library, "malloc");
    their_realloc = dlsym(library, "realloc");
    their_free = dlsym(library, "free");
    CHECK(their_malloc && their_realloc && their_free);
    CHECK((void *)their_malloc != (void *)malloc);
}

int main(void)
{
    if (!on_heapwise())
        return 0;
    void *before = malloc(1000);
    for (int i = 0; i < 1000; i++)
        free(malloc(i * 100));
    pthread_t t;
    pthread_barrier_init(&barrier, NULL, 2);
    pthread_create(&t, NULL, old_thread, NULL);
    pthread_barrier_wait(&barrier);
    load(RTLD_LOCAL);
    use();
    load(RTLD_GLOBAL);
    use();
    pthread_barrier_wait(&barrier);
    pthread_join(t, NULL);
    free(before);
    return 0;
}
