/* A program that minds what is done to it: it checks registers, results of system calls, blocked
 * signals, its signal stack and its children while it works, and says so when asked.
 *
 *   minds MODE      MODE: spin, sleep, read, suspend (one thread each), many, or apart: it waits, with
 *                   memory that a fork leaves out
 *   prints "busy=1 wrong=0 rounds=0"; for each line that it reads, what it has found by then:
 *   wrong is the number of a check below
 */
#define _GNU_SOURCE
#include <errno.h>
#include <immintrin.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { VECTORS = 1, ERRNO, MASK, STACK, CHILDREN, SLEEP, READ, SUSPEND, FLOATS, PING };

static atomic_int wrong;
static atomic_long rounds;
static char signal_stack[1 << 16];
static void **heap;
static volatile sig_atomic_t rung;

static void find(int check)
{
    int none = 0;
    atomic_compare_exchange_strong(&wrong, &none, check);
}

static void ring(int number)
{
    (void)number;
    rung++;
    errno = 77;
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* What a stop could have changed for good. */
static void check_standing(void)
{
    sigset_t blocked;
    pthread_sigmask(SIG_BLOCK, 0, &blocked);
    if (!sigismember(&blocked, SIGUSR2) || sigismember(&blocked, SIGTERM) || sigismember(&blocked, SIGALRM))
        find(MASK);
    stack_t stack;
    if (sigaltstack(0, &stack) || stack.ss_sp != signal_stack || stack.ss_size != sizeof signal_stack)
        find(STACK);
    if (waitpid(-1, 0, WNOHANG) != -1 || errno != ECHILD)
        find(CHILDREN);
}

__attribute__((target("avx2"))) static void vectors(void)
{
    __m256i kept[8];
    uint64_t general[4] = { 11, 22, 33, 44 };
    for (int i = 0; i < 8; i++)
        kept[i] = _mm256_set1_epi64x(0x0123456789abcdef * (i + 1));
    uint64_t left = 200000;
    __asm__ volatile(
        "vmovdqu (%[k]), %%ymm0\n vmovdqu 32(%[k]), %%ymm3\n vmovdqu 64(%[k]), %%ymm7\n"
        "vmovdqu 96(%[k]), %%ymm8\n vmovdqu 128(%[k]), %%ymm12\n vmovdqu 160(%[k]), %%ymm15\n"
        "mov (%[g]), %%r12\n mov 8(%[g]), %%r13\n mov 16(%[g]), %%r14\n mov 24(%[g]), %%r11\n"
        "movq $99, -16(%%rsp)\n movq $98, -120(%%rsp)\n"
        "1: dec %[left]\n jnz 1b\n"
        "cmpq $99, -16(%%rsp)\n jne 2f\n cmpq $98, -120(%%rsp)\n jne 2f\n"
        "jmp 3f\n 2: xor %%r12, %%r12\n 3:\n"
        "vmovdqu %%ymm0, (%[k])\n vmovdqu %%ymm3, 32(%[k])\n vmovdqu %%ymm7, 64(%[k])\n"
        "vmovdqu %%ymm8, 96(%[k])\n vmovdqu %%ymm12, 128(%[k])\n vmovdqu %%ymm15, 160(%[k])\n"
        "mov %%r12, (%[g])\n mov %%r13, 8(%[g])\n mov %%r14, 16(%[g])\n mov %%r11, 24(%[g])\n"
        : [left] "+r"(left)
        : [k] "r"(kept), [g] "r"(general)
        : "memory", "cc", "r11", "r12", "r13", "r14", "ymm0", "ymm3", "ymm7", "ymm8", "ymm12", "ymm15");
    for (int i = 0; i < 8; i++) {
        uint64_t words[4];
        memcpy(words, &kept[i], sizeof words);
        for (int j = 0; j < 4; j++)
            if (words[j] != 0x0123456789abcdef * (uint64_t)(i + 1))
                find(VECTORS);
    }
    if (general[0] != 11 || general[1] != 22 || general[2] != 33 || general[3] != 44)
        find(VECTORS);
}

static void spin(void)
{
    if (__builtin_cpu_supports("avx2"))
        vectors();
    errno = 1234;
    volatile long double sum = 0;
    for (int i = 1; i < 20000; i++)
        sum += 1.0L / i;
    static _Thread_local long double first;
    if (first == 0)
        first = sum;
    if (sum != first)
        find(FLOATS);
    /* A signal's handler stores 77, and only that. */
    if (errno != 1234 && errno != 77)
        find(ERRNO);
}

static void nap(void)
{
    struct timespec time = { 0, 3000000 };
    double before = seconds();
    errno = 0;
    if (nanosleep(&time, 0) || seconds() - before < 0.003)
        find(SLEEP);
}

/* A read that a signal ends, as it is without SA_RESTART. */
static void interrupted_read(int descriptor)
{
    /* The second one is for where the first comes before the read has begun. */
    struct itimerval soon = { { 1, 0 }, { 0, 4000 } };
    char byte;
    int before = rung;
    setitimer(ITIMER_REAL, &soon, 0);
    ssize_t got = read(descriptor, &byte, 1);
    if (got != -1 || errno != EINTR || rung == before)
        find(READ);
}

static void suspended(void)
{
    sigset_t blocked, none;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &blocked, &none);
    struct itimerval soon = { { 0, 0 }, { 0, 4000 } };
    int before = rung;
    setitimer(ITIMER_REAL, &soon, 0);
    if (sigsuspend(&none) != -1 || errno != EINTR || rung != before + 1)
        find(SUSPEND);
    pthread_sigmask(SIG_SETMASK, &none, 0);
}

/* A part of the heap that a fork leaves out, one that it leaves empty, and chunks on both. */
static void set_apart(void)
{
    for (int round = 0; round < 2000; round++)
        memset(malloc(3000), 1, 3000);
    char *end = malloc(16);
    char *inside = (char *)((uintptr_t)(end - (1 << 20)) & ~4095ul);
    char *mapped = malloc(1 << 20);
    memset(mapped, 1, 1 << 20);
    if (madvise(inside, 1 << 18, MADV_DONTFORK) ||
        madvise((void *)((uintptr_t)mapped & ~4095ul), 1 << 18, MADV_WIPEONFORK))
        exit(3);
}

/* Asked for something: answers. */
static void answer(int patience)
{
    struct pollfd input = { 0, POLLIN, 0 };
    if (poll(&input, 1, patience) != 1)
        return;
    char line[64];
    if (read(0, line, sizeof line) <= 0)
        exit(0);
    printf("busy=1 wrong=%d rounds=%ld\n", atomic_load(&wrong), atomic_load(&rounds));
    fflush(stdout);
}

static int there[2], back[2];

static void *worker(void *mode)
{
    for (long number = 0;; number++) {
        switch ((intptr_t)mode) {
        case 0:
            spin();
            break;
        case 1:
            nap();
            break;
        case 2: {
            long got;
            if (write(there[1], &number, sizeof number) != sizeof number ||
                read(back[0], &got, sizeof got) != sizeof got || got != number + 1)
                find(PING);
            break;
        }
        case 3: {
            long got;
            if (read(there[0], &got, sizeof got) != sizeof got)
                find(PING);
            got++;
            if (write(back[1], &got, sizeof got) != sizeof got)
                find(PING);
            break;
        }
        default: {
            void *block = malloc((size_t)(number % 3000 + 1));
            heap[number % 1000] ? free(heap[number % 1000]) : (void)0;
            heap[number % 1000] = block;
            if (number % 64 == 0)
                usleep(100);
        }
        }
        atomic_fetch_add(&rounds, 1);
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 2 || pipe(there) || pipe(back))
        return 2;
    const char *mode = argv[1];
    stack_t stack = { .ss_sp = signal_stack, .ss_size = sizeof signal_stack };
    sigaltstack(&stack, 0);
    sigset_t blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &blocked, 0);
    int many = !strcmp(mode, "many");
    struct sigaction action = { .sa_handler = ring, .sa_flags = many ? SA_RESTART | SA_ONSTACK : SA_ONSTACK };
    sigaction(SIGALRM, &action, 0);
    heap = calloc(1000, sizeof *heap);
    for (int i = 0; i < 100; i++)
        heap[i] = malloc(1000);
    pthread_t thread;
    sigaddset(&blocked, SIGALRM);
    /* nanosleep is not made again after a handler, so only the main thread has one. */
    pthread_sigmask(SIG_BLOCK, &blocked, 0);
    for (intptr_t kind = 0; many && kind < 6; kind++)
        pthread_create(&thread, 0, worker, (void *)(kind < 5 ? kind : 0));
    sigdelset(&blocked, SIGUSR2);
    pthread_sigmask(SIG_UNBLOCK, &blocked, 0);
    if (many) {
        struct itimerval often = { { 0, 1000 }, { 0, 1000 } };
        setitimer(ITIMER_REAL, &often, 0);
    }
    int apart = !strcmp(mode, "apart");
    if (apart)
        set_apart();
    printf(apart ? "apart=1\n" : "busy=1 wrong=0 rounds=0\n");
    fflush(stdout);
    while (apart)
        answer(-1);
    for (;;) {
        if (!strcmp(mode, "spin"))
            spin();
        else if (!strcmp(mode, "sleep"))
            nap();
        else if (!strcmp(mode, "read"))
            interrupted_read(there[0]);
        else if (!strcmp(mode, "suspend"))
            suspended();
        check_standing();
        if (!many)
            atomic_fetch_add(&rounds, 1);
        answer(many ? 5 : 0);
    }
}
