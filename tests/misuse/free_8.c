/* Frees the address 8.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    free((void *)8);
    survived(NULL, 0);
}
