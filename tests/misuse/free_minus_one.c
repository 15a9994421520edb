/* Frees the address -1, which mmap returns on failure.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    free((void *)-1);
    survived(NULL, 0);
}
