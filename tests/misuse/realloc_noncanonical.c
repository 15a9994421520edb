/* Calls realloc with an address that is not canonical.
 *
 * stderr: realloc(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = realloc((void *)0xdead000000001000, 100);
    survived(p, 100);
}
