/* Writes letters over the two list pointers of a free 100,000-byte chunk;
 * then allocates it again.
 *
 * stderr: malloc(): unsorted double linked list corrupted
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(100000), *guard = malloc(100);
    free(p);
    memset(p, 'A', 16);
    for (int i = 0; i < 4; i++)
        malloc(100000);
    survived(guard, 100);
}
