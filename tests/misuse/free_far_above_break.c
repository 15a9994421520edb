/* Frees a pointer 64 MiB above the program break.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(32);
    free((void *)((((uintptr_t)sbrk(0) + (64 << 20)) & ~(uintptr_t)15) + 16));
    survived(p, 32);
}
