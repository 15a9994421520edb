/* Calls realloc with p + 1.
 *
 * stderr: realloc(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(64);
    memset(p, 0, 64);
    char *q = realloc(p + 1, 100);
    survived(q, 100);
}
