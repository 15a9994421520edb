/* A thread in one kind of wait or work, whose heap has something to give back.
 *
 *   waits MODE    prints "ready", goes on until a line comes, prints what it saw
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

/* 16 MiB of small chunks, of which only one near the end stays. */
static void make_holes(void)
{
    enum { COUNT = 16384 };
    char **all = malloc(COUNT * sizeof *all);
    for (int i = 0; i < COUNT; i++)
        memset(all[i] = malloc(1000), 1, 1000);
    for (int i = 0; i < COUNT - 1; i++)
        free(all[i]);
    free(all);
}

static int line_waits(void)
{
    struct pollfd in = {.fd = 0, .events = POLLIN};
    return poll(&in, 1, 0) == 1;
}

/* A leaf that keeps its state in registers and in the red zone. */
__attribute__((noinline)) static uint64_t mix(uint64_t x, uint64_t rounds)
{
    volatile uint64_t below[8] = {0};
    for (uint64_t i = 0; i < rounds; i++) {
        x = x * 6364136223846793005u + (x >> 29) + i;
        below[i & 7] += x;
        double d = (double)(x >> 40);
        x += (uint64_t)(d * 1.0000001);
    }
    for (int i = 0; i < 8; i++)
        x ^= below[i];
    return x;
}

static int spin(void)
{
    uint64_t expected = mix(1, 300000);
    int right = 1;
    while (!line_waits())
        right &= mix(1, 300000) == expected;
    return right;
}

/* Page faults without end. */
static int fault(void)
{
    enum { BYTES = 1 << 20 };
    int right = 1;
    while (!line_waits()) {
        unsigned char *p = mmap(0, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        for (int i = 0; i < BYTES; i += 4096)
            p[i] = (unsigned char)(i >> 12);
        for (int i = 0; i < BYTES; i += 4096)
            right &= p[i] == (unsigned char)(i >> 12);
        munmap(p, BYTES);
    }
    return right;
}

/* Sleeps a second and a half, whatever happens to it. */
static int sleep_exactly(void)
{
    double start = now();
    struct timespec t = {1, 500000000};
    int result = nanosleep(&t, 0);
    double took = now() - start;
    return result == 0 && took >= 1.5 && took < 20;
}

static int poll_exactly(void)
{
    double start = now();
    int fds[2];
    if (pipe(fds))
        return 0;
    struct pollfd p = {.fd = fds[0], .events = POLLIN};
    int result = poll(&p, 1, 1500);
    return result == 0 && now() - start >= 1.49;
}

static int read_line(void)
{
    char line[16];
    return read(0, line, sizeof line) > 0;
}

static int read_blocked(void)
{
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, 0);
    int result = read_line();
    sigset_t after;
    sigprocmask(SIG_SETMASK, 0, &after);
    return result && sigismember(&after, SIGTRAP) && sigismember(&after, SIGUSR1);
}

/* Signals are handled all the time; a handler must find and leave things as they are. */
static volatile sig_atomic_t handled;
static void on_alarm(int signal)
{
    (void)signal;
    handled++;
}
static int interrupted(void)
{
    struct sigaction action = {.sa_handler = on_alarm};
    sigaction(SIGALRM, &action, 0);
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
    timer_create(CLOCK_MONOTONIC, &event, &timer);
    struct itimerspec often = {{0, 2000000}, {0, 2000000}};
    timer_settime(timer, 0, &often, 0);
    int right = 1;
    while (!line_waits()) {
        struct timespec t = {0, 10000000};
        if (nanosleep(&t, 0) != 0)
            right &= errno == EINTR;
        right &= mix(1, 3000) == mix(1, 3000);
    }
    return right && handled > 10;
}

/* A filter that ends the process for a thread. */
static int deadly_filter(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* A filter that refuses a thread politely. */
static int strict_filter(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* A filter as containers have them: one call is forbidden, clone may make no namespace. */
static int lenient_filter(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_personality, 4, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 2),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args)),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x7e020000, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static void *wait_long(void *unused)
{
    (void)unused;
    make_holes();
    for (;;)
        pause();
}

static int threads(void)
{
    pthread_t thread;
    for (int i = 0; i < 3; i++)
        pthread_create(&thread, 0, wait_long, 0);
    return read_line();
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "";
    make_holes();
    int ready = 1;
    if (!strcmp(mode, "deadly"))
        ready = deadly_filter();
    if (!strcmp(mode, "strict"))
        ready = strict_filter();
    if (!strcmp(mode, "lenient"))
        ready = lenient_filter();
    puts(ready ? "ready" : "not ready");
    fflush(stdout);
    int right = !strcmp(mode, "spin")          ? spin()
                : !strcmp(mode, "fault")       ? fault()
                : !strcmp(mode, "sleep")       ? sleep_exactly()
                : !strcmp(mode, "poll")        ? poll_exactly()
                : !strcmp(mode, "blocked")     ? read_blocked()
                : !strcmp(mode, "interrupted") ? interrupted()
                : !strcmp(mode, "threads")     ? threads()
                                               : read_line();
    puts(right ? "right" : "wrong");
    return 0;
}
