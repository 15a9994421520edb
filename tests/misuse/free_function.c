/* Frees the address of a function.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    free((void *)((uintptr_t)main & ~(uintptr_t)15));
    survived(NULL, 0);
}
