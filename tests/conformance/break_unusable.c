/* The break cannot move at all from the start: something is mapped at once
 * behind it before the first malloc.
 */
#include "check.h"
#include <sys/mman.h>

__attribute__((constructor(101))) static void block(void)
{
    char *end = (char *)(((uintptr_t)sbrk(0) + 4095) & ~(uintptr_t)4095);
    mmap(end, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
}

int main(void)
{
    enum { N = 20000 };
    static unsigned char *p[N];
    for (int i = 0; i < N; i++) {
        p[i] = malloc(i % 3000);
        CHECK(p[i] != NULL);
        memset(p[i], i, i % 3000);
    }
    for (int i = 0; i < N; i++) {
        for (int k = 0; k < i % 3000; k++)
            CHECK(p[i][k] == (unsigned char)i);
        free(p[i]);
    }
    return 0;
}
