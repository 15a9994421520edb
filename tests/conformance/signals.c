/* Thousands of signals interrupt the allocator; the handlers do not allocate,
 * and nothing is lost.
 */
#include "check.h"
#include <signal.h>
#include <sys/time.h>

static volatile int count;

static void handler(int signal)
{
    (void)signal;
    count++;
}

int main(void)
{
    signal(SIGALRM, handler);
    struct itimerval often = {{0, 500}, {0, 500}};
    setitimer(ITIMER_REAL, &often, NULL);
    uint64_t state = 99;
    static struct { unsigned char *p; size_t n; unsigned char mark; } s[500];
    for (long step = 0; step < 3000000 && count < 1500; step++) {
        int i = next_random(&state) % 500;
        if (s[i].p)
            CHECK(s[i].p[0] == s[i].mark && s[i].p[s[i].n - 1] == s[i].mark);
        free(s[i].p);
        s[i].n = 1 + next_random(&state) % (step % 100 ? 1000 : 300000);
        s[i].p = malloc(s[i].n);
        CHECK(s[i].p != NULL);
        s[i].mark = (unsigned char)step;
        s[i].p[0] = s[i].p[s[i].n - 1] = s[i].mark;
    }
    CHECK(count > 100);
    return 0;
}
