/* Calls realloc with p + 64 of a live chunk full of zero bytes.
 *
 * stderr: realloc(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(512);
    memset(p, 0, 512);
    char *q = realloc(p + 64, 1000);
    survived(q, 100);
}
