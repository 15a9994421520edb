/* A C program that loads the C++ library later, as a plug-in would bring it:
 * operator new may then be called, and finds std::bad_alloc when it must throw.
 *
 * libs: -ldl
 */
#include "check.h"
#include <dlfcn.h>

int main(void)
{
    void *library = dlopen("libstdc++.so.6", RTLD_NOW | RTLD_GLOBAL);
    if (!library)
        return 0;
    void *(*new)(size_t) = dlsym(RTLD_DEFAULT, "_Znwm");
    void (*delete)(void *) = dlsym(RTLD_DEFAULT, "_ZdlPv");
    CHECK(new && delete);
    for (int i = 0; i < 1000; i++)
        delete(new(i * 10));
    return 0;
}
