/* MALLOC_PERTURB_ does what M_PERTURB does.
 *
 * env: MALLOC_PERTURB_=165
 */
#include "check.h"

int main(void)
{
    enum { N = 3000 };
    unsigned char *p = malloc(N), *q = malloc(N);
    for (int i = 0; i < N; i++)
        CHECK(p[i] == (0xa5 ^ 0xff));
    free(p);
    /* Freed memory is filled with the byte itself, but for the free list's words. */
    for (int i = 64; i < N - 64; i++)
        CHECK(((volatile unsigned char *)p)[i] == 0xa5);
    free(q);
    return 0;
}
