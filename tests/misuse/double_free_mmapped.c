/* Frees a 1 MiB chunk, which had a mapping of its own, twice: its header is
 * not mapped any more.
 *
 * stderr: munmap_chunk(): invalid pointer
 * or:     free(): invalid pointer
 * or:     double free or corruption (!prev)
 * or:     free(): double free detected in tcache 2
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
