/* Writes letters over the list pointers of 100,000-byte chunks that have gone
 * to a large bin; then allocates that size.
 *
 * stderr: malloc(): largebin double linked list corrupted (nextsize)
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    static char *p[60], *guard[60];
    for (int i = 0; i < 60; i++) {
        p[i] = malloc(100000 + 16 * i);
        guard[i] = malloc(70000); /* keeps the neighbours apart */
    }
    for (int i = 0; i < 60; i++)
        free(p[i]);
    malloc(120000);
    for (int i = 0; i < 60; i++)
        memset(p[i], 'A', 32);
    for (int i = 0; i < 60; i++)
        malloc(100000);
    survived(guard[0], 100);
}
