/* Frees the address 4096.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    free((void *)4096);
    survived(NULL, 0);
}
