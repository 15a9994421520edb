/* Frees the end of a live chunk, one past its last byte.
 *
 * stderr: munmap_chunk(): invalid pointer
 * or:     free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(56);
    char *guard = malloc(56);
    memset(p, 'B', 56);
    memset(guard, 'B', 56);
    free(p + 56);
    survived(guard, 56);
}
