/* A heap of a known shape, and the truth about it as counted from inside.
 *
 *   shapes SHAPE        makes the heap, prints one line of figures, then obeys
 *                       lines on standard input: "trim", "figures"; ends with it
 *
 * Nothing here may disturb the heap that is looked at: no stdio, static buffers.
 * OLD_MALLINFO: for a glibc before 2.33. ALONE: without threads, so that an old
 * glibc's libpthread is not there.
 */
#define _GNU_SOURCE
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MOST 400000
static void *held[MOST];
static size_t held_count;
static size_t mapped_count;

static uint64_t state = 88172645463325252u;
static uint64_t next_random(void) {
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

/* A block that is resident as a whole. */
static void *block(size_t size) {
    void *p = malloc(size);
    if (!p) _exit(3);
    memset(p, 0x5a, malloc_usable_size(p));
    return p;
}

static void hold(void *p) {
    if (held_count == MOST) _exit(4);
    held[held_count++] = p;
}

static void give_back(size_t index) {
    free(held[index]);
    held[index] = NULL;
}

/* Blocks of mixed sizes, of which a random half goes. */
static void shape_holes(void) {
    for (int i = 0; i < 60000; i++) hold(block(16 + next_random() % 3000));
    for (size_t i = 0; i < held_count; i++)
        if (next_random() & 1) give_back(i);
}

/* 100 MiB of which all but a fiftieth goes in random order: merged in parts. */
static void shape_parts(void) {
    for (int i = 0; i < 300000; i++) hold(block(100 + next_random() % 500));
    for (size_t i = held_count - 1; i > 0; i--) {
        size_t other = next_random() % (i + 1);
        void *p = held[i];
        held[i] = held[other];
        held[other] = p;
    }
    for (size_t i = 0; i < held_count; i++)
        if (i % 50) give_back(i);
}

/* 64 MiB in blocks of 4000, all freed but the last. */
static void shape_pinned(void) {
    for (int i = 0; i < 16777; i++) hold(block(4000));
    for (size_t i = 0; i + 1 < held_count; i++) give_back(i);
}

/* Large holes between small blocks: much that a trim returns. */
static void shape_gaps(void) {
    for (int i = 0; i < 2000; i++) {
        hold(block(30000));
        hold(block(40));
    }
    for (size_t i = 0; i < held_count; i += 2) give_back(i);
}

/* A little in every fastbin and thread cache list. */
static void shape_lists(void) {
    for (int round = 0; round < 40; round++)
        for (size_t size = 16; size <= 1000; size += 16) hold(block(size));
    for (size_t i = 0; i < held_count; i++)
        if (i % 3) give_back(i);
}

/* Everything live. */
static void shape_live(void) {
    for (int i = 0; i < 100000; i++) hold(block(200));
}

/* Chunks with mappings of their own, side by side, some aligned, some gone. */
static void shape_mapped(void) {
    mallopt(M_MMAP_THRESHOLD, 128 << 10);
    for (int i = 0; i < 40; i++) hold(block((200 << 10) + next_random() % (1 << 20)));
    for (size_t i = 0; i < 40; i += 3) give_back(i);
    for (int i = 0; i < 4; i++) {
        void *p = memalign(64 << 10, 500 << 10);
        memset(p, 1, 500 << 10);
        hold(p);
    }
    /* Not a chunk, but often merged with one. */
    char *other = mmap(NULL, 64 << 10, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(other, 7, 64 << 10);
    hold(block(300 << 10));
    for (size_t i = 0; i < held_count; i++) mapped_count += held[i] != NULL;
}

/* Somebody else moves the break in the middle. */
static void shape_foreign(void) {
    for (int i = 0; i < 3000; i++) hold(block(1000));
    char *own = sbrk(100 << 10);
    memset(own, 0x77, 100 << 10);
    for (int i = 0; i < 3000; i++) hold(block(1000));
    for (size_t i = 0; i < held_count; i += 2) give_back(i);
}

/* The break cannot grow: something stands in its way. */
static void shape_blocked(void) {
    hold(block(100));
    uintptr_t end = ((uintptr_t)sbrk(0) + 0xfff) & ~(uintptr_t)0xfff;
    mmap((void *)(end + (64 << 10)), 4096, PROT_NONE,
         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    for (int i = 0; i < 5000; i++) hold(block(1000));
    for (size_t i = 0; i < held_count; i += 2) give_back(i);
}

#ifndef ALONE
/* A heap that never rests: a second thread trades blocks for others all the time. */
static void *busy_body(void *argument) {
    for (;;) {
        size_t i = next_random() % 50000;
        free(held[i]);
        held[i] = block(16 + next_random() % 700);
    }
    return argument;
}

static void shape_busy(void) {
    pthread_t thread;
    for (int i = 0; i < 50000; i++) hold(block(16 + next_random() % 700));
    pthread_create(&thread, NULL, busy_body, NULL);
}

/* Threads whose arenas grow over several heaps, shrink, and end with them. */
static void *growing_body(void *argument) {
    static __thread char *own[1400];
    for (int round = 0; round < 3; round++) {
        int most = 200 + (int)(next_random() % 1200);
        for (int i = 0; i < most; i++) memset(own[i] = malloc(60000), 1, 60000);
        for (int i = most; i-- > 0;) free(own[i]);
    }
    return argument;
}

static void *ending_body(void *argument) {
    for (;;) {
        pthread_t threads[2];
        for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, growing_body, NULL);
        for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    }
    return argument;
}

static void shape_ending(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, ending_body, NULL);
}

static pthread_barrier_t ready;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *thread_body(void *argument) {
    static __thread void *own[20000];
    size_t count = 0;
    for (int i = 0; i < 8000; i++) own[count++] = block(32 + (size_t)(i * 37 % 2000));
    for (size_t i = 0; i < count; i++)
        if (i % 16) {
            free(own[i]);
            own[i] = NULL;
        }
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < count; i++)
        if (own[i]) hold(own[i]);
    pthread_mutex_unlock(&lock);
    pthread_barrier_wait(&ready);
    pause();
    return argument;
}

/* Four threads, each with an arena at its own peak, now asleep; one more has ended. */
static void *short_body(void *argument) {
    free(block(5000));
    return argument;
}

static void shape_threads(void) {
    pthread_t thread;
    pthread_barrier_init(&ready, NULL, 5);
    for (int i = 0; i < 4; i++) pthread_create(&thread, NULL, thread_body, NULL);
    pthread_barrier_wait(&ready);
    pthread_create(&thread, NULL, short_body, NULL);
    pthread_join(thread, NULL);
}

#endif

/* Beside a heap with holes, every kind of mapping that a reader could stumble over. */
static void shape_odd(void) {
    enum { PAGE = 4096, PAGES = 64 };
    shape_holes();
    int private = MAP_PRIVATE | MAP_ANONYMOUS;
    /* Guards between resident pages, resident pages behind guards. */
    char *guarded = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, private, -1, 0);
    for (int i = 0; i < PAGES; i += 2) guarded[i * PAGE] = 1;
    for (int i = 0; i < PAGES; i += 4) mprotect(guarded + i * PAGE, PAGE, PROT_NONE);
    /* Write-only, execute-only, the zero page, reserved and untouched. */
    char *written = mmap(NULL, 4 * PAGE, PROT_WRITE, private, -1, 0);
    written[PAGE] = 1;
    mmap(NULL, PAGE, PROT_EXEC, private, -1, 0);
    volatile char *zero = mmap(NULL, PAGES * PAGE, PROT_READ, private, -1, 0);
    for (int i = 0; i < PAGES; i += 3) (void)zero[i * PAGE];
    mmap(NULL, (size_t)1 << 40, PROT_NONE, private | MAP_NORESERVE, -1, 0);
    /* Shared memory, and a file mapped beyond its end: touching it is SIGBUS. */
    char *shared = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    shared[2 * PAGE] = 1;
    int file = memfd_create("short", 0);
    if (ftruncate(file, 2 * PAGE)) _exit(6);
    char *beyond = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    beyond[PAGE] = 1;
    char *copied = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    copied[0] = 2;
}

static char line[512];
static size_t length;

static void put(const char *name, size_t value) {
    char digits[24];
    int at = 24;
    do digits[--at] = (char)('0' + value % 10);
    while (value /= 10);
    size_t bytes = strlen(name);
    memcpy(line + length, name, bytes);
    length += bytes;
    line[length++] = '=';
    memcpy(line + length, digits + at, (size_t)(24 - at));
    length += (size_t)(24 - at);
    line[length++] = ' ';
}

static void figures(void) {
    size_t live = 0, bytes = 0;
    for (size_t i = 0; i < held_count; i++)
        if (held[i]) {
            live++;
            bytes += malloc_usable_size(held[i]);
        }
#ifdef OLD_MALLINFO
    struct mallinfo info = mallinfo();
#else
    struct mallinfo2 info = mallinfo2();
#endif
    length = 0;
    put("live", live);
    put("live_bytes", bytes);
    put("mapped", mapped_count);
    put("hblks", (size_t)info.hblks);
    put("hblkhd", (size_t)info.hblkhd);
    put("fordblks", (size_t)info.fordblks);
    put("fsmblks", (size_t)info.fsmblks);
    put("arena", (size_t)info.arena);
    line[length - 1] = '\n';
    if (write(1, line, length) < 0) _exit(5);
}

int main(int count, char **arguments) {
    static const struct {
        const char *name;
        void (*make)(void);
    } shapes[] = {
        {"holes", shape_holes},     {"parts", shape_parts},     {"pinned", shape_pinned},   {"gaps", shape_gaps},
        {"lists", shape_lists},     {"live", shape_live},       {"mapped", shape_mapped},
        {"foreign", shape_foreign}, {"blocked", shape_blocked}, {"odd", shape_odd},
#ifndef ALONE
        {"threads", shape_threads}, {"busy", shape_busy},       {"ending", shape_ending},
#endif
    };
    if (count < 2) return 2;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (!strcmp(arguments[1], shapes[i].name)) shapes[i].make();
    if (strcmp(arguments[1], "busy") && strcmp(arguments[1], "ending"))
        figures();
    else if (write(1, "busy=1\n", 7) < 0)
        return 5;
    char command[64];
    ssize_t got;
    while ((got = read(0, command, sizeof command)) > 0) {
        if (command[0] == 't') malloc_trim(0);
        figures();
    }
    return 0;
}
