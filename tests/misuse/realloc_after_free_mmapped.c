/* Calls realloc with a freed pointer of 1 MiB: its header is not mapped any
 * more.
 *
 * stderr: realloc(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(1024 * 1024);
    free(p);
    p = realloc(p, 2 * 1024 * 1024);
    survived(p, 100);
}
