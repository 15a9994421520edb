/* misuse.h: what the misuse programs share.
 *
 * Each program misuses the heap once and then calls survived(): reaching it
 * means that the allocator has not noticed. survived() then looks whether the
 * heap still keeps its first promise (no two live chunks overlap), so that the
 * table in docs/misuse.md can tell "undetected" from "silent corruption".
 *
 * The programs are compiled without optimisation and with -fno-builtin:
 * a compiler that knows malloc may remove the very mistake under test.
 */
#ifndef HEAPWISE_TESTS_MISUSE_H
#define HEAPWISE_TESTS_MISUSE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* An aborting test leaves no core file, a looping one no busy machine. */
__attribute__((constructor)) static void limits(void)
{
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    alarm(20);
}

/* The size word in front of a user pointer, where the glibc layout has it. */
static inline uint64_t *header_of(void *p)
{
    return (uint64_t *)p - 1;
}

/* The first word after the usable bytes of a chunk: the next chunk's size word. */
static inline uint64_t *header_after(void *p)
{
    return (uint64_t *)((char *)p + malloc_usable_size(p));
}

/* The wrong pointer passes through here so that no compiler reasons about it. */
static inline void *opaque(const volatile void *p)
{
    __asm__ volatile("" : "+r"(p));
    return (void *)p;
}

/* splitmix64, seeded per process: random contents that differ from run to run. */
static inline uint64_t random_word(void)
{
    static uint64_t state;
    if (state == 0)
        state = (uint64_t)getpid() * 0x9e3779b97f4a7c15u ^ (uintptr_t)&state;
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Runs f(arg) on a thread of its own and waits for its end. */
static inline void in_thread(void *(*f)(void *), void *arg)
{
    pthread_t t;
    if (pthread_create(&t, NULL, f, arg) != 0)
        _exit(2);
    pthread_join(t, NULL);
}

static inline void *free_in_thread(void *p)
{
    free(p);
    return NULL;
}

/* What a thread that never ends allocated: a chunk of an arena that is not the
 * main one. */
struct elsewhere {
    size_t size;
    char *chunk;
    pthread_barrier_t ready;
};

static inline void *allocate_and_sleep(void *arg)
{
    struct elsewhere *its = arg;
    its->chunk = malloc(its->size);
    malloc(its->size);
    pthread_barrier_wait(&its->ready);
    pause();
    return NULL;
}

/* A chunk of `size` bytes from another thread's arena; another one of that
 * size lies behind it, and the thread sleeps from then on. */
static inline char *from_elsewhere(size_t size)
{
    static struct elsewhere its;
    its.size = size;
    pthread_t t;
    pthread_barrier_init(&its.ready, NULL, 2);
    if (pthread_create(&t, NULL, allocate_and_sleep, &its) != 0)
        _exit(2);
    pthread_barrier_wait(&its.ready);
    return its.chunk;
}

/* The start of the secondary heap that p lies in: heaps are aligned to 64 MiB. */
static inline char *heap_of(void *p)
{
    return (char *)((uintptr_t)p & ~(uintptr_t)0x3ffffff);
}

/* Not noticed. `live` (may be NULL) are n bytes that the program still owns.
 * Says so on stdout, probes the heap, and ends the program. */
static inline void survived(void *live, size_t n)
{
    static const size_t size[] = {24,  32,  40,   48,   64,    104,        200,
                                  264, 512, 1000, 4000, 60000, 100 * 1024, 1024 * 1024};
    enum { SIZES = sizeof size / sizeof size[0], MOST = 7000 };
    static uint64_t *got[SIZES][MOST];
    const char *verdict = "undetected\n";

    if (write(1, "survived\n", 9) != 9)
        _exit(2);
    if (live)
        memset(live, 0xa5, n);
    /* Enough of each size that an allocator with runs of 64 KiB goes through one. */
    for (int i = 0; i < SIZES; i++)
        for (int j = 0; j < MOST && (j < 16 || j * size[i] < 160 * 1024); j++) {
            got[i][j] = malloc(size[i]);
            for (size_t k = 0; got[i][j] && k < size[i] / 8; k++)
                got[i][j][k] = i * MOST + j;
        }
    for (int i = 0; i < SIZES; i++)
        for (int j = 0; j < MOST && got[i][j]; j++)
            for (size_t k = 0; k < size[i] / 8; k++)
                if (got[i][j][k] != (uint64_t)(i * MOST + j))
                    verdict = "corrupt\n";
    for (size_t k = 0; live && k < n; k++)
        if (((unsigned char *)live)[k] != 0xa5)
            verdict = "corrupt\n";
    if (write(1, verdict, strlen(verdict)) < 0)
        _exit(2);
    _exit(0);
}

/* The allocator has handed out memory that is not its own. */
static inline void stolen(void)
{
    if (write(1, "survived\ncorrupt\n", 17) != 17)
        _exit(2);
    _exit(0);
}

#endif
