/* Frees the first addresses above the user half, not canonical on 48 bits.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    free((void *)0x0000800000001000);
    survived(NULL, 0);
}
