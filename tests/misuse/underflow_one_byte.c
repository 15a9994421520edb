/* Writes one letter in front of its own block, over the highest byte of its
 * header; then frees it.
 *
 * stderr: double free or corruption (out)
 * or:     free(): invalid size
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(40);
    p[-1] = 'A';
    free(p);
    survived(NULL, 0);
}
