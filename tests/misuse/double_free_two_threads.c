/* Two threads, one after the other, free the same chunk of the main thread.
 *
 * stderr: free(): double free detected in tcache 2
 * or:     double free or corruption (!prev)
 * or:     double free or corruption (fasttop)
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(32);
    in_thread(free_in_thread, p);
    in_thread(free_in_thread, p);
    survived(NULL, 0);
}
