/* Frees 2000 neighbours of 4000 bytes and then one in the middle again,
 * whose header lies deep inside the merged chunk.
 *
 * stderr: double free or corruption (!prev)
 * or:     free(): invalid pointer
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
    free(p[1000]);
    survived(guard, 4000);
}
