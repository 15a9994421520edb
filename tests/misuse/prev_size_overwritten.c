/* Overwrites the size that a free 100,000-byte chunk keeps at its end (a
 * write after free); then frees the chunk behind it, which merges with it.
 *
 * stderr: corrupted size vs. prev_size while consolidating
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    static char *p[20];
    for (int i = 0; i < 20; i++)
        p[i] = malloc(100000);
    free(p[4]);
    memset(header_of(p[5]) - 1, 'A', 8);
    for (int i = 5; i < 20; i++)
        free(p[i]);
    malloc_trim(0);
    survived(p[0], 100000);
}
