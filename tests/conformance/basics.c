/* malloc: alignment, malloc(0), impossible sizes, usable size. */
#include "check.h"

int main(void)
{
    /* Every pointer is aligned to 16 and its usable bytes can be written. */
    for (size_t n = 0; n < 300000; n += n < 5000 ? 1 : 997) {
        unsigned char *p = malloc(n);
        CHECK(p != NULL);
        CHECK((uintptr_t)p % 16 == 0);
        size_t usable = malloc_usable_size(p);
        CHECK(usable >= n);
        memset(p, 0x5a, usable);
        free(p);
    }

    /* malloc(0) is a pointer of its own each time. */
    void *zero[100];
    for (int i = 0; i < 100; i++) {
        zero[i] = malloc(0);
        CHECK(zero[i] != NULL);
        for (int j = 0; j < i; j++)
            CHECK(zero[i] != zero[j]);
    }
    for (int i = 0; i < 100; i++)
        free(zero[i]);

    /* Over PTRDIFF_MAX: NULL and ENOMEM. */
    volatile size_t impossible[] = {(size_t)PTRDIFF_MAX + 1, SIZE_MAX, SIZE_MAX - 15,
                                    SIZE_MAX - 4096, (size_t)PTRDIFF_MAX, (size_t)1 << 62};
    for (size_t i = 0; i < sizeof impossible / sizeof impossible[0]; i++) {
        errno = 0;
        CHECK(malloc(impossible[i]) == NULL);
        CHECK(errno == ENOMEM);
        errno = 0;
        CHECK(calloc(1, impossible[i]) == NULL);
        CHECK(errno == ENOMEM);
        errno = 0;
        CHECK(memalign(64, impossible[i]) == NULL);
        CHECK(errno == ENOMEM);
        void *p = malloc(10);
        errno = 0;
        CHECK(realloc(p, impossible[i]) == NULL);
        CHECK(errno == ENOMEM);
        free(p); /* a failed realloc leaves the block alone */
    }

    free(NULL);
    CHECK(malloc_usable_size(NULL) == 0);

    /* A chunk just freed is the next of its size. */
    void *p = malloc(32);
    free(p);
    CHECK(malloc(32) == p);
    return 0;
}
