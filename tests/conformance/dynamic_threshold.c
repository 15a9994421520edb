/* The mmap threshold follows the largest mapped chunk that was freed, up to
 * 32 MiB; the trim threshold is twice it.
 */
#include "check.h"

int main(void)
{
    void *p = malloc(1 << 20);
    CHECK(mallinfo2().hblks == 1);
    free(p);
    void *q = malloc(1 << 20); /* now below the threshold: from the heap */
    CHECK(mallinfo2().hblks == 0);
    char *full = sbrk(0);
    free(q);
    CHECK(sbrk(0) == full); /* 1 MiB on top is less than 2 MiB */
    p = malloc(2 << 20);
    CHECK(mallinfo2().hblks == 1);
    free(p);
    for (int i = 0; i < 3; i++) { /* over the maximum: always mapped */
        p = malloc(40 << 20);
        CHECK(mallinfo2().hblks == 1);
        free(p);
        CHECK(mallinfo2().hblks == 0);
    }
    return 0;
}
