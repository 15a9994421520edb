/* free leaves errno alone, also where it goes to the kernel, and so do a
 * successful malloc, calloc and realloc.
 */
#include "check.h"

int main(void)
{
    for (size_t n = 1; n < 40 << 20; n = n * 3 / 2 + 1) {
        errno = 4711;
        void *p = malloc(n), *q = calloc(1, n);
        p = realloc(p, n + n / 2);
        CHECK(errno == 4711);
        free(p);
        CHECK(errno == 4711);
        free(q);
        CHECK(errno == 4711);
    }
    enum { N = 4000 };
    static void *p[N];
    for (int i = 0; i < N; i++)
        p[i] = malloc(10000);
    errno = 4711;
    for (int i = N; i-- > 0;)
        free(p[i]); /* trims */
    CHECK(errno == 4711);
    return 0;
}
