/* Calls realloc with a freed pointer of 100 KiB.
 *
 * stderr: double free or corruption (!prev)
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(100 * 1024);
    char *guard = malloc(100);
    free(p);
    p = realloc(p, 120 * 1024);
    survived(guard, 100);
}
