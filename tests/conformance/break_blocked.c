/* Something is mapped right above the break: small and large requests are
 * then served from mappings, the whole of it can be freed, and the old heap
 * stays sound.
 */
#include "check.h"
#include <sys/mman.h>

int main(void)
{
    unsigned char *first = malloc(1000);
    memset(first, 1, 1000);
    char *end = (char *)(((uintptr_t)sbrk(0) + 4095) & ~(uintptr_t)4095);
    CHECK(mmap(end + 4096, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) ==
          end + 4096);
    enum { N = 30000 };
    static unsigned char *p[N];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < N; i++) {
            p[i] = malloc(i % 1500);
            CHECK(p[i] != NULL);
            memset(p[i], i, i % 1500);
        }
        for (int i = 0; i < N; i++) {
            for (int k = 0; k < i % 1500; k++)
                CHECK(p[i][k] == (unsigned char)i);
            free(p[i]);
        }
        malloc_trim(0);
    }
    for (int k = 0; k < 1000; k++)
        CHECK(first[k] == 1);
    free(first);
    CHECK((char *)sbrk(0) <= end + 4096);
    return 0;
}
