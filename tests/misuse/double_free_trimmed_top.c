/* Frees 8 MiB of neighbours so that the break comes down, and then the
 * highest of them again: its header is not mapped any more.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    static char *p[128];
    for (int i = 0; i < 128; i++) {
        p[i] = malloc(64 * 1024);
        memset(p[i], 1, 64 * 1024);
    }
    for (int i = 0; i < 128; i++)
        free(p[i]);
    malloc_trim(0);
    free(p[127]);
    survived(NULL, 0);
}
