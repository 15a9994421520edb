/* Calls realloc with p + 64 of a live chunk full of letters.
 *
 * stderr: realloc(): invalid old size
 * or:     realloc(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(512);
    memset(p, 'A', 512);
    char *q = realloc(p + 64, 1000);
    survived(q, 100);
}
