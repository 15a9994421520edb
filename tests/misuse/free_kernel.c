/* Frees an address in the kernel's half.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    free((void *)0xffff888000001000);
    survived(NULL, 0);
}
