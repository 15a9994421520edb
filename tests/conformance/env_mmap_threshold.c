/* MALLOC_MMAP_THRESHOLD_: 64 KiB and more have mappings of their own, and
 * the threshold does not move.
 *
 * env: MALLOC_MMAP_THRESHOLD_=65536
 */
#include "check.h"

int main(void)
{
    void *small = malloc(60000), *more = malloc(60000); /* top is small now */
    CHECK(mallinfo2().hblks == 0);
    for (int i = 0; i < 10; i++) {
        void *p = malloc(65536);
        CHECK(mallinfo2().hblks == 1);
        free(p);
        CHECK(mallinfo2().hblks == 0);
    }
    free(small);
    free(more);
    return 0;
}
