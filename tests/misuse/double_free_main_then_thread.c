/* The main thread frees its chunk; then a thread frees it again.
 *
 * glibc looks into the freeing thread's own cache only.
 *
 * stderr: free(): double free detected in tcache 2
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(32);
    free(p);
    in_thread(free_in_thread, p);
    survived(NULL, 0);
}
