/* M_PERTURB: fresh memory holds the complement of the byte, calloc's is still
 * zero. (glibc leaves out chunks up to 1032 bytes, those of its thread cache;
 * the manual does not, and neither do we.)
 */
#include "check.h"

int main(void)
{
    CHECK(mallopt(M_PERTURB, 0xa5) == 1);
    for (size_t n = on_heapwise() ? 1 : 1100; n < 300000; n = n * 2 + 5) {
        unsigned char *p = malloc(n);
        for (size_t i = 0; i < n; i++)
            CHECK(p[i] == (0xa5 ^ 0xff));
        free(p);
        p = calloc(1, n);
        for (size_t i = 0; i < n; i++)
            CHECK(p[i] == 0);
        free(p);
    }
    CHECK(mallopt(M_PERTURB, 0) == 1);
    return 0;
}
