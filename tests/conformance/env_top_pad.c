/* MALLOC_TOP_PAD_: the first malloc moves the break by the request, the pad
 * and the header, in whole pages.
 *
 * env: MALLOC_TOP_PAD_=1048576
 */
#include "check.h"

int main(void)
{
    char *before = sbrk(0);
    CHECK(malloc(1) != NULL);
    CHECK((char *)sbrk(0) - before == 1048576 + 4096);
    return 0;
}
