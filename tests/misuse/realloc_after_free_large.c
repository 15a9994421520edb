/* Calls realloc with a freed pointer of 100 KiB.
 *
 * stderr: realloc(): invalid pointer
 * or:     double free or corruption (!prev)
 * or:     free(): double free detected in tcache 2
 * or:     realloc(): invalid old size
 * or:     realloc(): invalid next size
 * or:     double free or corruption (top)
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
