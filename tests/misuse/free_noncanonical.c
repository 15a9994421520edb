/* Frees an address that is not canonical.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    free((void *)0xdead000000001000);
    survived(NULL, 0);
}
