/* Frees a chunk of 100 KiB (below the mmap threshold) twice, with a live
 * chunk behind it.
 *
 * stderr: double free or corruption (!prev)
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(100 * 1024);
    char *guard = malloc(100);
    free(p);
    free(p);
    survived(guard, 100);
}
