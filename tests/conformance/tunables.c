/* GLIBC_TUNABLES: names of other parts and nonsense are passed over, ours are
 * taken.
 *
 * env: GLIBC_TUNABLES=glibc.rtld.nns=3:glibc.malloc.mmap_threshold=65536:nonsense:glibc.malloc.mmap_max=1:glibc.malloc.top_pad=0x10000
 */
#include "check.h"

int main(void)
{
    char *before = sbrk(0);
    CHECK(malloc(1) != NULL);
    CHECK((char *)sbrk(0) - before == 0x10000 + 4096);
    void *a = malloc(65536), *b = malloc(65536);
    CHECK(a && b);
    CHECK(mallinfo2().hblks == 1);
    return 0;
}
