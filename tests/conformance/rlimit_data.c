/* RLIMIT_DATA: the heap runs out, and comes back. */
#include "exhaust.h"

int main(void)
{
    return exhausted(RLIMIT_DATA);
}
