/* The articles' figures: the first malloc moves the break once, by 132 KiB;
 * malloc(32) takes 48 bytes; 256 KiB has a mapping of its own, 16 bytes in;
 * a second small malloc does not move the break.
 */
#include "check.h"

int main(void)
{
    char *before = sbrk(0);
    char *a = malloc(32);
    char *break_after = sbrk(0);
    CHECK(break_after - before == 132 * 1024);
    CHECK(a > before && a < break_after);
    char *b = malloc(32);
    CHECK(b - a == 48);
    for (int i = 0; i < 100; i++)
        malloc(64);
    CHECK(sbrk(0) == break_after);
    CHECK((((uint64_t *)a)[-1] & 7 & ~1) == 0); /* neither mmapped nor of another arena */

    char *c = malloc(256 * 1024);
    CHECK(c < before || c > break_after + (1l << 30));
    CHECK((uintptr_t)c % 4096 == 16);
    CHECK((((uint64_t *)c)[-1] & 2) == 2);
    CHECK(malloc_usable_size(c) == 266240 - 16);
    CHECK(sbrk(0) == break_after);
    free(c);
    return 0;
}
