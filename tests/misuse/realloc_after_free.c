/* Calls realloc with a pointer that has been freed.
 *
 * stderr: free(): double free detected in tcache 2
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(32);
    free(p);
    p = realloc(p, 100);
    survived(p, 100);
}
