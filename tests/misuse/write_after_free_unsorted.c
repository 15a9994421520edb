/* Writes letters over a free 60,000-byte chunk in the unsorted list; then
 * asks for larger ones.
 *
 * stderr: malloc(): unsorted double linked list corrupted
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(100000), *guard = malloc(100);
    free(p);
    memset(p, 'A', 100000);
    for (int i = 0; i < 8; i++)
        malloc(110000);
    for (int i = 0; i < 40; i++)
        malloc(5000);
    survived(guard, 100);
}
