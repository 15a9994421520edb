/* Overwrites the header of a chunk that has a mapping of its own with eight
 * letters; then frees it.
 *
 * stderr: double free or corruption (out)
 * or:     munmap_chunk(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(1024 * 1024);
    memcpy(header_of(p), "AAAAAAAA", 8);
    free(p);
    survived(p, 4096);
}
