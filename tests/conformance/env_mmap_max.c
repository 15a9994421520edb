/* MALLOC_MMAP_MAX_: at most that many mappings; the rest comes from the heap.
 *
 * env: MALLOC_MMAP_MAX_=2
 */
#include "check.h"

int main(void)
{
    char *p[5];
    for (int i = 0; i < 5; i++) {
        p[i] = malloc(1 << 20);
        CHECK(p[i] != NULL);
        memset(p[i], i, 1 << 20);
    }
    CHECK(mallinfo2().hblks == 2);
    for (int i = 0; i < 5; i++)
        free(p[i]);
    CHECK(mallinfo2().hblks == 0);
    return 0;
}
