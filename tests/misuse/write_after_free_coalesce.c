/* Writes letters over the list pointers of a free 100,000-byte chunk; then
 * frees its neighbour, which merges with it.
 *
 * stderr: corrupted double-linked list
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    static char *p[4];
    for (int i = 0; i < 4; i++)
        p[i] = malloc(100000);
    free(p[1]);
    memset(p[1], 'A', 32);
    free(p[2]);
    survived(p[0], 100000);
}
