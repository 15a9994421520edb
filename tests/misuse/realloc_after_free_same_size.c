/* Calls realloc with a freed pointer and a size that would fit where it is.
 *
 * stderr: free(): double free detected in tcache 2
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
