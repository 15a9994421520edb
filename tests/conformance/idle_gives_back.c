/* 100 MB in small blocks, the middle 99 are freed, and the program idles in
 * one long stretch without calls: the pages go back on their own within a few
 * seconds, in the main arena of a process that has a second thread. (glibc
 * keeps them.)
 */
#include "check.h"
#include <pthread.h>

enum { N = 50000, SIZE = 2000 };
static char *p[N];

static void *wait(void *unused)
{
    pause();
    return unused;
}

int main(void)
{
    pthread_t t;
    pthread_create(&t, NULL, wait, NULL);
    for (int i = 0; i < N; i++) {
        p[i] = malloc(SIZE);
        memset(p[i], 1, SIZE);
    }
    long full = resident_kib();
    for (int i = N / 200; i < N - N / 200; i++)
        free(p[i]);
    if (!on_heapwise())
        return 0;
    for (int tenths = 0; tenths < 50 && resident_kib() > full / 5; tenths++)
        usleep(100000);
    CHECK(resident_kib() <= full / 5);
    return 0;
}
