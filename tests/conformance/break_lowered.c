/* The break is lowered under the heap: the next move of the break is fatal,
 * with one line.
 *
 * stderr: break adjusted to free malloc space
 * signal: SIGABRT
 */
#include "check.h"
#include <sys/resource.h>

int main(void)
{
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    for (int i = 0; i < 5; i++)
        CHECK(malloc(20000) != NULL); /* leaves the wilderness 34 KiB */
    CHECK(sbrk(-16384) != (void *)-1);
    for (int i = 0; i < 100; i++)
        CHECK(malloc(100000) != NULL);
    return 0;
}
