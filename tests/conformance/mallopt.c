/* mallopt: known parameters are taken, unknown ones return 1. */
#include "check.h"

int main(void)
{
    static const int known[] = {M_MXFAST, M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD,
                                M_MMAP_MAX, M_CHECK_ACTION, M_PERTURB, M_ARENA_TEST, M_ARENA_MAX};
    static const int value[] = {64, 1 << 20, 1 << 16, 1 << 18, 1000, 3, 0, 4, 4};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        CHECK(mallopt(known[i], value[i]) == 1);
    static const int unknown[] = {2, 3, 99, -9, -100, 0x7fffffff};
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++)
        CHECK(mallopt(unknown[i], 1) == 1);

    CHECK(mallopt(M_MXFAST, 0) == 1);
    CHECK(mallopt(M_MXFAST, 160) == 1);
    CHECK(mallopt(M_MXFAST, 161) == 0); /* over MAX_FAST_SIZE */

    /* By hand and for good: 256 KiB now decides. */
    size_t before = mallinfo2().hblks;
    void *p = malloc(200 * 1024), *q = malloc(300 * 1024);
    CHECK(mallinfo2().hblks == before + 1);
    free(p);
    free(q);
    CHECK(mallinfo2().hblks == before);
    q = malloc(300 * 1024);
    CHECK(mallinfo2().hblks == before + 1); /* not moved by that free: frozen */
    free(q);

    CHECK(mallopt(M_MMAP_MAX, 0) == 1);
    q = malloc(3 << 20);
    CHECK(q != NULL);
    CHECK(mallinfo2().hblks == before);
    free(q);
    return 0;
}
