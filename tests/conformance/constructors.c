/* malloc works before main: in constructors, and what they allocate lives on.
 */
#include "check.h"

static char *early[100];

__attribute__((constructor(101))) static void first(void)
{
    for (int i = 0; i < 100; i++) {
        early[i] = malloc(i * 50);
        memset(early[i], i, i * 50);
    }
}

__attribute__((constructor(102))) static void second(void)
{
    for (int i = 0; i < 100; i += 2) {
        early[i] = realloc(early[i], i * 60);
        CHECK(early[i] != NULL || i == 0);
    }
    free(malloc(1 << 20));
}

__attribute__((destructor)) static void last(void)
{
    for (int i = 1; i < 100; i++)
        free(early[i]);
    free(calloc(10, 10));
}

int main(void)
{
    for (int i = 1; i < 100; i++)
        for (int k = 0; k < i * 50; k++)
            CHECK(early[i][k] == (char)i);
    return 0;
}
