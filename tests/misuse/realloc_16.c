/* Calls realloc with the address 16.
 *
 * stderr: realloc(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = realloc((void *)16, 100);
    survived(p, 100);
}
