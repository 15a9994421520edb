/* Calls realloc with the start of a mapping of the program's own; the page
 * below is not mapped.
 *
 * stderr: realloc(): invalid pointer
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *m = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(m, 4096);
    char *p = realloc(m + 4096, 100);
    survived(p, 100);
}
