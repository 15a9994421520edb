/* realloc: NULL and 0, contents kept while growing and shrinking between one
 * byte and 64 MiB, in place or moved, mapped or not.
 */
#include "check.h"

static unsigned char at(size_t i)
{
    return (unsigned char)(i * 131 + (i >> 8) * 31 + (i >> 16));
}

static void fill(unsigned char *p, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        p[i] = at(i);
}

static void verify(const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        CHECK(p[i] == at(i));
}

static void change(size_t from, size_t to)
{
    unsigned char *p = malloc(from);
    void *behind = malloc(32);
    CHECK(p != NULL);
    fill(p, 0, from);
    p = realloc(p, to);
    CHECK(p != NULL);
    CHECK((uintptr_t)p % 16 == 0);
    CHECK(malloc_usable_size(p) >= to);
    verify(p, from < to ? from : to);
    memset(p, 1, to);
    free(p);
    free(behind);
}

int main(void)
{
    unsigned char *p = realloc(NULL, 100);
    CHECK(p != NULL);
    CHECK(malloc_usable_size(p) >= 100);
    CHECK(realloc(p, 0) == NULL); /* frees */
    p = realloc(NULL, 0);
    CHECK(p != NULL); /* is malloc(0) */
    free(p);

    /* All pairs of some sizes of every kind. */
    static const size_t size[] = {1, 8, 24, 25, 40, 100, 128, 129, 500, 1032, 1033, 2000, 4000,
        4096, 9000, 30000, 65536, 70000, 120000, 131072, 140000, 300000, 1 << 20, 5 << 20};
    enum { SIZES = sizeof size / sizeof size[0] };
    for (int i = 0; i < SIZES; i++)
        for (int j = 0; j < SIZES; j++)
            change(size[i], size[j]);

    /* Up to 64 MiB and down again, one block. */
    size_t n = 1;
    p = malloc(n);
    fill(p, 0, n);
    while (n < (64u << 20)) {
        size_t more = n + n / 2 + 1;
        p = realloc(p, more);
        CHECK(p != NULL);
        if (n > (1 << 20)) { /* all of it would take long: the ends */
            for (size_t i = 0; i < 4096; i++) {
                CHECK(p[i] == at(i));
                CHECK(p[n - 1 - i] == at(n - 1 - i));
            }
        } else {
            verify(p, n);
        }
        fill(p, n, more);
        n = more;
    }
    verify(p, n);
    while (n > 1) {
        n = n * 2 / 3;
        p = realloc(p, n);
        CHECK(p != NULL);
        for (size_t i = 0; i < 4096 && i < n; i++) {
            CHECK(p[i] == at(i));
            CHECK(p[n - 1 - i] == at(n - 1 - i));
        }
    }
    free(p);

    /* The same beside a second block, so that neither can grow in place. */
    unsigned char *a = malloc(1), *b = malloc(1);
    fill(a, 0, 1);
    fill(b, 0, 1);
    for (n = 1; n < 3000000; n = n * 4 / 3 + 1) {
        size_t more = n * 4 / 3 + 1;
        a = realloc(a, more);
        b = realloc(b, more);
        verify(a, n);
        verify(b, n);
        fill(a, n, more);
        fill(b, n, more);
    }
    free(a);
    free(b);

    /* An aligned block may be reallocated; its contents are kept. */
    void *aligned;
    CHECK(posix_memalign(&aligned, 4096, 10000) == 0);
    fill(aligned, 0, 10000);
    aligned = realloc(aligned, 50000);
    verify(aligned, 10000);
    free(aligned);
    CHECK(posix_memalign(&aligned, 1 << 20, 3 << 20) == 0);
    fill(aligned, 0, 3 << 20);
    aligned = realloc(aligned, 6 << 20);
    verify(aligned, 3 << 20);
    free(aligned);
    return 0;
}
