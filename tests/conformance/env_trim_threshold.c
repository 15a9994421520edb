/* MALLOC_TRIM_THRESHOLD_: a free top below it is kept, one above it goes back.
 *
 * env: MALLOC_TRIM_THRESHOLD_=33554432
 */
#include "check.h"

enum { N = 1200, SIZE = 50000 };
static char *p[N];

int main(void)
{
    for (int i = 0; i < N; i++)
        p[i] = malloc(SIZE);
    char *full = sbrk(0);
    int i = N;
    while (i > N - 300) /* 15 MB */
        free(p[--i]);
    CHECK(sbrk(0) == full);
    while (i > 100) /* another 40 MB */
        free(p[--i]);
    CHECK((char *)sbrk(0) < full - (16 << 20));
    return 0;
}
