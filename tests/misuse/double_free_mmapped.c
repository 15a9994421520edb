/* Frees a 1 MiB chunk, which had a mapping of its own, twice: its header is
 * not mapped any more.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(1024 * 1024);
    free(p);
    free(p);
    survived(NULL, 0);
}
