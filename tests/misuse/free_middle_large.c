/* Frees the middle of a live chunk of 100 KiB.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(100 * 1024);
    memset(p, 0, 100 * 1024);
    free(p + 50 * 1024);
    survived(p, 100 * 1024);
}
