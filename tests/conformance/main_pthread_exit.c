/* The main thread ends by pthread_exit while others go on; the process ends,
 * with status 0, when the last of them does.
 */
#include "check.h"
#include <pthread.h>

static void *shared[1000];

static void *work(void *unused)
{
    usleep(50000); /* main is gone by now */
    for (int i = 0; i < 1000; i++)
        free(shared[i]);
    for (int round = 0; round < 100; round++)
        for (int i = 0; i < 300; i++)
            free(malloc(i * 30));
    return unused;
}

int main(void)
{
    alarm(20);
    for (int i = 0; i < 1000; i++)
        shared[i] = malloc(i * 3);
    pthread_t t;
    CHECK(pthread_create(&t, NULL, work, NULL) == 0);
    pthread_exit(NULL);
}
