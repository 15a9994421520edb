/* malloc_trim: 1 if it gave memory back, 0 if there was none to give; it
 * gives back holes in the middle and keeps what is in use.
 */
#include "check.h"

int main(void)
{
    enum { N = 2000, SIZE = 20000 };
    static unsigned char *p[N];
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    for (int i = 0; i < N; i++) {
        p[i] = malloc(SIZE);
        memset(p[i], i, SIZE);
    }
    for (int i = 0; i < N; i++)
        if (i % 100 != 50)
            free(p[i]);
    long before = resident_kib();
    (void)malloc_trim(0);
    long after = resident_kib();
    /* 40 MB were used and 0.4 MB are: nine tenths of it went back, now or before. */
    CHECK(after < 8 * 1024 || after < before / 4);
    for (int i = 50; i < N; i += 100)
        for (int k = 0; k < SIZE; k++)
            CHECK(p[i][k] == (unsigned char)i);
    for (int i = 50; i < N; i += 100)
        free(p[i]);
    void *q[400];
    for (int i = 0; i < 400; i++) {
        q[i] = malloc(1000);
        memset(q[i], 1, 1000);
    }
    for (int i = 0; i < 400; i++)
        free(q[i]);
    CHECK(malloc_trim(0) == 1);
    CHECK(malloc_trim(0) == 0); /* nothing left */
    return 0;
}
