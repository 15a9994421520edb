/* reallocarray: as realloc, and the product must not overflow. */
#include "check.h"

int main(void)
{
    int *p = reallocarray(NULL, 10, sizeof *p);
    CHECK(p != NULL);
    for (int i = 0; i < 10; i++)
        p[i] = i;
    p = reallocarray(p, 10000, sizeof *p);
    CHECK(p != NULL);
    for (int i = 0; i < 10; i++)
        CHECK(p[i] == i);

    volatile size_t half = SIZE_MAX / 2 + 1;
    errno = 0;
    CHECK(reallocarray(p, half, 2) == NULL);
    CHECK(errno == ENOMEM);
    errno = 0;
    CHECK(reallocarray(p, (size_t)1 << 33, (size_t)1 << 33) == NULL);
    CHECK(errno == ENOMEM);
    errno = 0;
    CHECK(reallocarray(NULL, half, 2) == NULL);
    CHECK(errno == ENOMEM);
    for (int i = 0; i < 10; i++)
        CHECK(p[i] == i); /* untouched by the failures */
    free(p);
    return 0;
}
