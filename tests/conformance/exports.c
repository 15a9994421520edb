/* Every name of the drop-in list resolves, and to one and the same library.
 *
 * libs: -ldl
 */
#include "check.h"
#include <dlfcn.h>

static const char *const name[] = {
    "malloc", "free", "calloc", "realloc", "reallocarray", "posix_memalign", "aligned_alloc",
    "memalign", "valloc", "pvalloc", "malloc_usable_size", "malloc_trim", "mallopt", "mallinfo",
    "mallinfo2", "malloc_info", "malloc_stats", "cfree", "free_sized", "free_aligned_sized",
    "__libc_malloc", "__libc_free", "__libc_calloc", "__libc_realloc", "__libc_memalign",
    "__libc_valloc", "__libc_pvalloc",
    /* operator new and new[]: plain, nothrow, aligned, aligned nothrow */
    "_Znwm", "_ZnwmRKSt9nothrow_t", "_ZnwmSt11align_val_t", "_ZnwmSt11align_val_tRKSt9nothrow_t",
    "_Znam", "_ZnamRKSt9nothrow_t", "_ZnamSt11align_val_t", "_ZnamSt11align_val_tRKSt9nothrow_t",
    /* operator delete and delete[]: plain, nothrow, sized, aligned, … */
    "_ZdlPv", "_ZdlPvRKSt9nothrow_t", "_ZdlPvm", "_ZdlPvSt11align_val_t",
    "_ZdlPvmSt11align_val_t", "_ZdlPvSt11align_val_tRKSt9nothrow_t",
    "_ZdaPv", "_ZdaPvRKSt9nothrow_t", "_ZdaPvm", "_ZdaPvSt11align_val_t",
    "_ZdaPvmSt11align_val_t", "_ZdaPvSt11align_val_tRKSt9nothrow_t",
};

int main(void)
{
    if (!on_heapwise())
        return 0;
    Dl_info first, here;
    CHECK(dladdr(dlsym(RTLD_DEFAULT, "malloc"), &first));
    int missing = 0;
    for (size_t i = 0; i < sizeof name / sizeof name[0]; i++) {
        void *f = dlsym(RTLD_DEFAULT, name[i]);
        if (!f || !dladdr(f, &here) || here.dli_fbase != first.dli_fbase) {
            printf("not exported: %s\n", name[i]);
            missing = 1;
        }
    }
    return missing;
}
