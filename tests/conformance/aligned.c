/* posix_memalign, aligned_alloc, memalign, valloc, pvalloc: alignments up to
 * 64 MiB, the errors of each, and errno left alone by posix_memalign.
 */
#include "check.h"

static void use(void *p, size_t alignment, size_t n)
{
    CHECK(p != NULL);
    CHECK((uintptr_t)p % alignment == 0);
    CHECK(malloc_usable_size(p) >= n);
    memset(p, 0x77, n < 4096 ? n : 4096);
    if (n)
        ((char *)p)[n - 1] = 1;
}

int main(void)
{
    void *p = (void *)1;
    /* posix_memalign wants a power of two that is a multiple of sizeof(void *). */
    static const size_t wrong[] = {0, 1, 2, 4, 3, 12, 24, 48, 100, 4097};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        errno = 4711;
        CHECK(posix_memalign(&p, wrong[i], 100) == EINVAL);
        CHECK(p == (void *)1);
        CHECK(errno == 4711);
    }
    errno = 4711;
    CHECK(posix_memalign(&p, 64, (size_t)PTRDIFF_MAX + 1) == ENOMEM);
    CHECK(posix_memalign(&p, (size_t)1 << 62, 100) == ENOMEM);
    CHECK(p == (void *)1);

    for (size_t alignment = 8; alignment <= 1 << 20; alignment *= 2)
        for (size_t n = 0; n < 3000000; n = n * 3 + 1) {
            void *q[3];
            for (int i = 0; i < 3; i++) {
                CHECK(posix_memalign(&q[i], alignment, n) == 0);
                use(q[i], alignment, n);
            }
            for (int i = 0; i < 3; i++)
                free(q[i]);
        }
    for (size_t alignment = 2 << 20; alignment <= 64 << 20; alignment *= 2) {
        CHECK(posix_memalign(&p, alignment, 100) == 0);
        use(p, alignment, 100);
        free(p);
        CHECK(posix_memalign(&p, alignment, 1 << 20) == 0);
        use(p, alignment, 1 << 20);
        free(p);
        p = aligned_alloc(alignment, alignment);
        use(p, alignment, alignment);
        free(p);
    }

    p = aligned_alloc(4096, 100);
    use(p, 4096, 100);
    free(p);
    p = memalign(32, 33);
    use(p, 32, 33);
    free(p);
    p = memalign(48, 100); /* glibc takes the next power of two */
    use(p, 64, 100);
    free(p);
    p = memalign(0, 100);
    use(p, 16, 100);
    free(p);
    errno = 0;
    CHECK(memalign(SIZE_MAX / 2 + 2, 100) == NULL);
    CHECK(errno == EINVAL);
    size_t page = sysconf(_SC_PAGESIZE);
    p = valloc(100);
    use(p, page, 100);
    free(p);
    p = pvalloc(page + 1); /* rounds the size up to pages, too */
    use(p, page, 2 * page);
    free(p);
    errno = 0;
    CHECK(pvalloc(SIZE_MAX - 10) == NULL);
    CHECK(errno == ENOMEM);
    errno = 0;
    CHECK(valloc(SIZE_MAX - 10) == NULL);
    CHECK(errno == ENOMEM);

    /* Mixed with plain blocks, all at once: nothing overlaps. */
    enum { N = 2000 };
    static unsigned char *block[N];
    for (int i = 0; i < N; i++) {
        block[i] = i % 2 ? malloc(i) : aligned_alloc(16u << (i % 9), i);
        memset(block[i], i, i);
    }
    for (int i = 0; i < N; i++) {
        for (int k = 0; k < i; k++)
            CHECK(block[i][k] == (unsigned char)i);
        free(block[i]);
    }
    return 0;
}
