/* Frees p + 64 of a live chunk full of zero bytes.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(512);
    memset(p, 0, 512);
    free(p + 64);
    survived(p, 512);
}
