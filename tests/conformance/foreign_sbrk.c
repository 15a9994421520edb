/* The program moves the break up by itself between mallocs: the heap goes on
 * above, and never touches the foreign piece.
 */
#include "check.h"

int main(void)
{
    enum { N = 60 };
    static struct { unsigned char *p; size_t n; } foreign[N];
    static unsigned char *block[N][100];
    for (int i = 0; i < N; i++) {
        size_t n = 1 + (i * 7919) % 50000; /* leaves the break unaligned, too */
        foreign[i].p = sbrk(n);
        CHECK(foreign[i].p != (void *)-1);
        foreign[i].n = n;
        memset(foreign[i].p, 0xf0 + i % 15, n);
        for (int k = 0; k < 100; k++) {
            block[i][k] = malloc(2000 + k);
            CHECK(block[i][k] != NULL);
            CHECK((uintptr_t)block[i][k] % 16 == 0);
            memset(block[i][k], k, 2000 + k);
        }
        if (i % 3 == 0)
            for (int k = 0; k < 100; k += 2) {
                free(block[i][k]);
                block[i][k] = NULL;
            }
    }
    for (int i = 0; i < N; i++) {
        for (size_t k = 0; k < foreign[i].n; k++)
            CHECK(foreign[i].p[k] == 0xf0 + i % 15);
        for (int k = 0; k < 100; k++) {
            for (int j = 0; block[i][k] && j < 2000 + k; j++)
                CHECK(block[i][k][j] == k);
            free(block[i][k]);
        }
    }
    malloc_trim(0);
    for (int i = 0; i < N; i++)
        for (size_t k = 0; k < foreign[i].n; k++)
            CHECK(foreign[i].p[k] == 0xf0 + i % 15);
    return 0;
}
