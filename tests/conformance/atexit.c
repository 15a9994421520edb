/* Handlers of atexit and on_exit allocate and free, also what main left. */
#include "check.h"

static void *left[1000];

static void late(void)
{
    for (int i = 0; i < 1000; i++)
        free(left[i]);
    for (int i = 0; i < 1000; i++) {
        left[i] = malloc(i * 10);
        CHECK(left[i] != NULL);
    }
}

static void later(int status, void *p)
{
    free(p);
    CHECK(status == 0);
    for (int i = 0; i < 1000; i++)
        free(left[i]);
}

int main(void)
{
    on_exit(later, malloc(100));
    atexit(late);
    for (int i = 0; i < 1000; i++)
        left[i] = malloc(i * 20);
    return 0;
}
