/* Frees p + 64 of a live chunk full of 0xff bytes.
 *
 * stderr: munmap_chunk(): invalid pointer
 * or:     free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(512);
    memset(p, 0xff, 512);
    free(p + 64);
    survived(p, 512);
}
