/* Two threads, one after the other, free the same chunk of the main thread.
 *
 * stderr: double free or corruption (fasttop)
 * or:     free(): double free detected in tcache 2
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
