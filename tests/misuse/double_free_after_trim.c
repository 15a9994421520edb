/* Frees 2000 neighbours of 4000 bytes, gives the pages back with
 * malloc_trim, and frees one in the middle again: its header may read as
 * zero now.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    static char *p[2000];
    for (int i = 0; i < 2000; i++) {
        p[i] = malloc(4000);
        memset(p[i], 1, 4000);
    }
    char *guard = malloc(4000);
    for (int i = 0; i < 2000; i++)
        free(p[i]);
    malloc_trim(0);
    free(p[1000]);
    survived(guard, 4000);
}
