/* Values that are no numbers do no harm and are not believed.
 *
 * env: MALLOC_TOP_PAD_=lots
 * env: MALLOC_MMAP_THRESHOLD_=
 * env: MALLOC_ARENA_MAX=-1
 * env: MALLOC_MMAP_MAX_=99999999999999999999999999
 */
#include "check.h"

int main(void)
{
    for (size_t n = 1; n < 10 << 20; n = n * 2 + 3) {
        void *p = malloc(n);
        CHECK(p != NULL);
        memset(p, 1, n);
        free(p);
    }
    return 0;
}
