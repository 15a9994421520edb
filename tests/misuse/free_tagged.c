/* Frees a live pointer with a tag in its upper bits.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(32);
    free((void *)((uintptr_t)p | (uintptr_t)0x2a << 57));
    survived(p, 32);
}
