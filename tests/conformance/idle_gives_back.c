/* In the main arena of a process that has a second thread. */
#include "gives_back.h"
#include <pthread.h>

static void *wait(void *unused)
{
    pause();
    return unused;
}

int main(void)
{
    pthread_t t;
    pthread_create(&t, NULL, wait, NULL);
    CHECK(gives_back(5));
    return 0;
}
