/* Not even the first heap fits under RLIMIT_AS: malloc says so politely, and
 * threads that cannot get an arena of their own share another's.
 */
#include "check.h"
#include <pthread.h>
#include <sys/resource.h>

static void *work(void *unused)
{
    for (int i = 0; i < 200; i++) {
        char *p = malloc(100 + i);
        CHECK(p != NULL); /* there is room in the main heap */
        memset(p, 1, 100 + i);
        free(p);
    }
    return unused;
}

int main(void)
{
    static void *room[1000];
    for (int i = 0; i < 1000; i++)
        room[i] = malloc(1000);
    for (int i = 0; i < 1000; i += 2)
        free(room[i]);
    char text[256] = {0};
    FILE *f = fopen("/proc/self/statm", "r");
    CHECK(f && fgets(text, sizeof text, f));
    fclose(f);
    rlim_t now = (rlim_t)atol(text) * 4096;
    struct rlimit old, tight;
    getrlimit(RLIMIT_AS, &old);
    tight = old;
    tight.rlim_cur = now + (40 << 20); /* stacks fit, a reserved heap of 64 MiB does not */
    CHECK(setrlimit(RLIMIT_AS, &tight) == 0);
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 1 << 20);
    pthread_t t[4];
    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&t[i], &small, work, NULL) == 0);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    tight.rlim_cur = now;
    CHECK(setrlimit(RLIMIT_AS, &tight) == 0);
    errno = 0;
    CHECK(malloc(64 << 20) == NULL);
    CHECK(errno == ENOMEM);
    CHECK(setrlimit(RLIMIT_AS, &old) == 0);
    void *p = malloc(64 << 20);
    CHECK(p != NULL);
    free(p);
    return 0;
}
