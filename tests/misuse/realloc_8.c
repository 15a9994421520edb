/* Calls realloc with the address 8.
 *
 * stderr: realloc(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = realloc((void *)8, 100);
    survived(p, 100);
}
