/* Frees a pointer just above the program break.
 *
 * stderr: free(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(32);
    free((char *)sbrk(0) + 16);
    survived(p, 32);
}
