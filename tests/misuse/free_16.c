/* Frees the address 16.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    free((void *)16);
    survived(NULL, 0);
}
