/* The same in a process with a single thread: it cannot count on a helper,
 * but a burst of frees is returned by the frees themselves.
 */
#include "check.h"

enum { N = 50000, SIZE = 2000 };
static char *p[N];

int main(void)
{
    for (int i = 0; i < N; i++) {
        p[i] = malloc(SIZE);
        memset(p[i], 1, SIZE);
    }
    long full = resident_kib();
    for (int i = N / 200; i < N - N / 200; i++)
        free(p[i]);
    if (!on_heapwise())
        return 0;
    for (int tenths = 0; tenths < 50 && resident_kib() > full / 3; tenths++)
        usleep(100000);
    CHECK(resident_kib() <= full / 3);
    return 0;
}
