/* GLIBC_TUNABLES with glibc.malloc.arena_max=1: all threads share the main heap.
 *
 * env: GLIBC_TUNABLES=glibc.malloc.top_pad=0:glibc.malloc.arena_max=1
 */
#include "one_heap.h"

int main(void)
{
    return one_heap();
}
