/* RLIMIT_AS: the heap runs out, and comes back. */
#include "exhaust.h"

int main(void)
{
    return exhausted(RLIMIT_AS);
}
