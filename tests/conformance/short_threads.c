/* 5000 short-lived threads: each leaves blocks to the main thread and takes
 * some of it; memory does not grow with their number.
 */
#include "check.h"
#include <pthread.h>

static void *work(void *given)
{
    free(given);
    for (int i = 0; i < 50; i++)
        free(malloc(i * 40));
    char *left = malloc(1000);
    memset(left, 0x3c, 1000);
    return left;
}

int main(void)
{
    long early = 0;
    for (int round = 0; round < 1250; round++) {
        pthread_t t[4];
        for (int i = 0; i < 4; i++)
            CHECK(pthread_create(&t[i], NULL, work, malloc(500)) == 0);
        for (int i = 0; i < 4; i++) {
            void *left;
            pthread_join(t[i], &left);
            for (int k = 0; k < 1000; k++)
                CHECK(((char *)left)[k] == 0x3c);
            free(left);
        }
        if (round == 250)
            early = resident_kib();
    }
    CHECK(resident_kib() < early + 4096);
    return 0;
}
