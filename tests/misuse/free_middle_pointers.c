/* Frees p + 64 of a live chunk full of pointers into the heap.
 *
 * stderr: double free or corruption (out)
 * or:     free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(512);
    for (int i = 0; i < 64; i++)
        ((void **)p)[i] = p + 16 * i;
    free(p + 64);
    survived(p, 512);
}
