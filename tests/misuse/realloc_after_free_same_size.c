/* Calls realloc with a freed pointer and a size that would fit where it is.
 *
 * stderr: realloc(): invalid pointer
 * or:     free(): double free detected in tcache 2
 * or:     realloc(): invalid old size
 * or:     double free or corruption (!prev)
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(100);
    free(p);
    p = realloc(p, 100);
    survived(p, 100);
}
