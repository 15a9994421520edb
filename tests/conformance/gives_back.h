/* gives_back.h: 100 MB in small blocks, the middle 99 are freed, and the program
 * idles in one long stretch without calls: the pages go back on their own
 * within a few seconds. (glibc keeps them.)
 */
#include "check.h"

/* Whether at most one `part`-th of the full size stays; glibc is not asked. */
static int gives_back(int part)
{
    enum { N = 50000, SIZE = 2000 };
    static char *p[N];
    for (int i = 0; i < N; i++) {
        p[i] = malloc(SIZE);
        memset(p[i], 1, SIZE);
    }
    long full = resident_kib();
    for (int i = N / 200; i < N - N / 200; i++)
        free(p[i]);
    if (!on_heapwise())
        return 1;
    for (int tenths = 0; tenths < 50 && resident_kib() > full / part; tenths++)
        usleep(100000);
    return resident_kib() <= full / part;
}
