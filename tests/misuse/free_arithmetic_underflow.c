/* Frees p - 4096 of a small chunk: a pointer into some other part of the
 * heap.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    static char *p[200];
    for (int i = 0; i < 200; i++) {
        p[i] = malloc(100);
        memset(p[i], 0, 100);
    }
    free(p[150] - 4096);
    survived(p[150], 100);
}
