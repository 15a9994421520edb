/* In a process with a single thread: it cannot count on a helper, but a burst
 * of frees is returned by the frees themselves.
 */
#include "gives_back.h"

int main(void)
{
    CHECK(gives_back(3));
    return 0;
}
