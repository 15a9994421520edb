/* Frees a chunk of 100 KiB twice; it has merged with the wilderness in
 * between.
 *
 * stderr: double free or corruption (top)
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(100 * 1024);
    free(p);
    free(p);
    survived(NULL, 0);
}
