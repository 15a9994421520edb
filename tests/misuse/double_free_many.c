/* Frees 3000 chunks of one size and then the first of them again: more than
 * any thread cache keeps.
 *
 * stderr: free(): double free detected in tcache 2
 * or:     double free or corruption (!prev)
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    static char *p[3000];
    for (int i = 0; i < 3000; i++)
        p[i] = malloc(200);
    char *guard = malloc(200);
    for (int i = 0; i < 3000; i++)
        free(p[i]);
    free(p[0]);
    survived(guard, 200);
}
