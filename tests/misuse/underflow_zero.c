/* Writes eight zero bytes in front of its own block; then frees it.
 *
 * stderr: free(): invalid pointer
 * or:     free(): invalid size
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(40);
    memset(p - 8, 0, 8);
    free(p);
    survived(NULL, 0);
}
