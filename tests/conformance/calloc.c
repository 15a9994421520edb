/* calloc: the product must not overflow; memory is zero, also recycled
 * memory of every size, also after realloc, trim and a moved break.
 */
#include "check.h"

static void dirty(size_t n)
{
    enum { KEPT = 24 };
    void *p[KEPT];
    for (int i = 0; i < KEPT; i++) {
        p[i] = malloc(n);
        memset(p[i], 0xff, malloc_usable_size(p[i]));
    }
    for (int i = 0; i < KEPT; i++)
        free(p[i]);
}

static void is_zero(size_t n)
{
    unsigned char *p[4];
    for (int i = 0; i < 4; i++) {
        p[i] = calloc(1, n);
        CHECK(p[i] != NULL);
        for (size_t k = 0; k < n; k++)
            CHECK(p[i][k] == 0);
        memset(p[i], 0xee, malloc_usable_size(p[i]));
    }
    for (int i = 0; i < 4; i++)
        free(p[i]);
}

int main(void)
{
    volatile size_t half = SIZE_MAX / 2 + 1;
    errno = 0;
    CHECK(calloc(half, 2) == NULL);
    CHECK(errno == ENOMEM);
    errno = 0;
    CHECK(calloc(2, half + 1) == NULL);
    CHECK(errno == ENOMEM);
    CHECK(calloc((size_t)1 << 32, (size_t)1 << 32) == NULL);
    CHECK(calloc(0, 16) != NULL);
    CHECK(calloc(16, 0) != NULL);
    CHECK(calloc(0, SIZE_MAX) != NULL);

    for (size_t n = 1; n < 2100; n++) {
        if (n % 16 < 2)
            dirty(n);
        is_zero(n);
    }
    for (size_t n = 2100; n < 3 << 20; n += n / 7) {
        dirty(n);
        is_zero(n);
        is_zero(n / 2);
        is_zero(n + n / 2);
    }
    /* Given back to the system, then dirtied in part, then recycled. */
    for (int round = 0; round < 10; round++) {
        for (size_t n = 5000; n < 2 << 20; n *= 2)
            dirty(n + 777 * round);
        malloc_trim(0);
        for (size_t n = 3000; n < 4 << 20; n = n * 5 / 3)
            is_zero(n);
    }
    return 0;
}
