/* A thread frees a chunk of the main thread; after the join the main thread
 * frees it again.
 *
 * glibc forgets: the thread's cache is flushed to a fastbin at its exit.
 *
 * stderr: free(): double free detected in tcache 2
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(32);
    in_thread(free_in_thread, p);
    free(p);
    survived(NULL, 0);
}
