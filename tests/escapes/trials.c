/* Random forgeries, each in a child of its own, counted.
 *
 * usage: trials KIND COUNT
 *
 * Prints "caught C crashed X escaped E": the children that ended by SIGABRT,
 * by another signal, and those that did not notice. The contents differ from
 * trial to trial; the allocator's secret is the same for all of one run.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t state;

static uint64_t next_random(void)
{
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static size_t some_size(void)
{
    uint64_t r = next_random();
    return 48 + r % (r % 8 ? 1000 : r % 3 ? 20000 : 110000);
}

static void fill_randomly(char *p, size_t n)
{
    for (size_t i = 0; i + 8 <= n; i += 8) {
        uint64_t word = next_random();
        memcpy(p + i, &word, 8);
    }
}

/* A word such as programs keep: a size of glibc, a small number, a pointer. */
static uint64_t plausible_word(char *heap)
{
    switch (next_random() % 4) {
    case 0: return (32 + 16 * (next_random() % 100)) | (next_random() % 8);
    case 1: return next_random() % 4096;
    case 2: return (uintptr_t)heap + next_random() % 100000;
    default: return (32 + 16 * (next_random() % 100)) | 1 | next_random() << 48;
    }
}

/* A pointer into the middle of a live chunk of random contents. */
static void middle(void)
{
    size_t n = some_size();
    char *p = malloc(n);
    fill_randomly(p, n);
    free(p + 16 * (1 + next_random() % (n / 16 - 1)));
}

/* The same with contents that programs have. */
static void plausible(void)
{
    size_t n = some_size();
    char *p = malloc(n);
    for (size_t i = 0; i + 8 <= n; i += 8) {
        uint64_t word = plausible_word(p);
        memcpy(p + i, &word, 8);
    }
    free(p + 16 * (1 + next_random() % (n / 16 - 1)));
}

/* Two neighbours; the first is written past its end by `bytes` random bytes. */
static int overrun(size_t bytes)
{
    size_t n = some_size();
    char *a = malloc(n), *b = malloc(n);
    uint64_t *header = (uint64_t *)(a + malloc_usable_size(a));
    if (b < a || header != (uint64_t *)b - 1)
        return 0;
    uint64_t before = *header, random;
    do {
        random = next_random();
        memcpy(header, &random, bytes);
    } while (*header == before);
    free(b);
    return 1;
}

static void header(void)
{
    while (!overrun(8)) {
    }
}

/* Only the low bytes of the header are hit. */
static void partial(void)
{
    while (!overrun(1 + next_random() % 7)) {
    }
}

/* A forged word of a plausible size in front of a pointer into a live chunk,
 * with sound neighbours in glibc's sense. */
static void forged(void)
{
    char *p = malloc(8192);
    uint64_t size = 32 + 16 * (next_random() % 64);
    memset(p, 0, 8192);
    *(uint64_t *)(p + 56) = size | (next_random() & 7) | next_random() << 48;
    *(uint64_t *)(p + 56 + size) = 0x101;
    free(p + 64);
}

/* Any address: near the heap, near a mapping, or anywhere. */
static void pointer(void)
{
    /* Above the break: below it, it might be a live chunk's own pointer. */
    uintptr_t near_heap = (uintptr_t)sbrk(0) + next_random() % (64 << 20);
    uintptr_t near_stack = (uintptr_t)&near_heap + next_random() % (64 << 20) - (32 << 20);
    uintptr_t near_libc = (uintptr_t)&printf + next_random() % (64 << 20) - (32 << 20);
    uintptr_t anywhere = next_random() >> (next_random() % 40);
    uintptr_t choice[] = {near_heap, near_stack, near_libc, anywhere};
    uintptr_t p = choice[next_random() % 4];
    p &= next_random() % 8 ? ~(uintptr_t)15 : ~(uintptr_t)0;
    free((void *)(p ? p : 16)); /* NULL may be freed */
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*misuse)(void);
    } kind[] = {{"middle", middle},   {"plausible", plausible}, {"header", header},
                {"partial", partial}, {"forged", forged},       {"pointer", pointer}};
    void (*misuse)(void) = NULL;
    for (size_t i = 0; argc == 3 && i < sizeof kind / sizeof kind[0]; i++)
        if (strcmp(kind[i].name, argv[1]) == 0)
            misuse = kind[i].misuse;
    if (!misuse)
        return 2;
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    if (getrandom(&state, sizeof state, 0) != sizeof state)
        return 2;
    printf("seed %#lx\n", (unsigned long)state); /* for the record */
    fflush(stdout);

    /* A heap with some life in it. */
    static char *live[300];
    for (int i = 0; i < 300; i++)
        live[i] = malloc(i * 20);
    for (int i = 0; i < 300; i += 3)
        free(live[i]);

    long caught = 0, crashed = 0, escaped = 0;
    int null = open("/dev/null", O_WRONLY), saved = dup(2);
    dup2(null, 2); /* the children's lines */
    for (long count = atol(argv[2]); count > 0; count--) {
        next_random();
        pid_t child = fork();
        if (child < 0)
            return 2;
        if (child == 0) {
            alarm(10);
            misuse();
            _exit(0);
        }
        int status;
        waitpid(child, &status, 0);
        if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT)
            caught++;
        else if (WIFSIGNALED(status))
            crashed++;
        else
            escaped++;
    }
    dup2(saved, 2);
    printf("caught %ld crashed %ld escaped %ld\n", caught, crashed, escaped);
    return 0;
}
