/* A thread allocates a chunk, frees it and ends; the main thread frees it
 * again.
 *
 * stderr: free(): double free detected in tcache 2
 * signal: SIGABRT
 */
#include "misuse.h"

static void *allocate_and_free(void *unused)
{
    (void)unused;
    void *p = malloc(100);
    free(p);
    return p;
}

int main(void)
{
    void *p;
    pthread_t t;
    pthread_create(&t, NULL, allocate_and_free, NULL);
    pthread_join(t, &p);
    free(p);
    survived(NULL, 0);
}
