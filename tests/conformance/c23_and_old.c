/* free_sized and free_aligned_sized of C23, and cfree, which glibc dropped
 * in 2.26 but which old programs still name.
 *
 * libs: -ldl
 */
#include "check.h"
#include <dlfcn.h>

int main(void)
{
    if (!on_heapwise())
        return 0; /* not in glibc 2.36 */
    void (*free_sized)(void *, size_t) = dlsym(RTLD_DEFAULT, "free_sized");
    void (*free_aligned_sized)(void *, size_t, size_t) = dlsym(RTLD_DEFAULT, "free_aligned_sized");
    void (*cfree)(void *) = dlsym(RTLD_DEFAULT, "cfree");
    CHECK(free_sized && free_aligned_sized && cfree);
    for (size_t n = 0; n < 1000000; n = n * 2 + 7) {
        free_sized(malloc(n), n);
        free_sized(calloc(1, n), n);
        free_aligned_sized(aligned_alloc(256, n), 256, n);
        cfree(malloc(n));
    }
    free_sized(NULL, 10);
    free_aligned_sized(NULL, 64, 10);
    cfree(NULL);
    return 0;
}
