/* Freeing what lies on top of the heap lowers the break, without a call. */
#include "check.h"

int main(void)
{
    enum { N = 1000, SIZE = 60000 };
    static char *p[N];
    for (int i = 0; i < N; i++) {
        p[i] = malloc(SIZE);
        memset(p[i], 1, SIZE);
    }
    char *full = sbrk(0);
    for (int i = 0; i < N; i++)
        free(p[i]);
    CHECK((char *)sbrk(0) < full - (50 << 20));
    return 0;
}
