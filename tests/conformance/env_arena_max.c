/* MALLOC_ARENA_MAX=1: all threads share the main heap.
 *
 * env: MALLOC_ARENA_MAX=1
 */
#include "one_heap.h"

int main(void)
{
    return one_heap();
}
