/* The floor of the benchmark: the least that a malloc could do, to know what a workload costs
 * besides its allocator. Not an allocator for anybody:
 *
 *   - it checks nothing: a double free, a wild pointer, an overrun go unnoticed;
 *   - it returns nothing to the kernel, and merges and splits nothing: a block keeps its class for ever;
 *   - all its memory may be huge pages, however little of them is used.
 *
 *   thread ──► heap: a list a class, newest first ──► 64 KiB spans of one class, cut in address order
 *                       │ too long                       class of an address: one byte a span
 *                       ▼
 *              pool of the class: whole lists, taken whole by whoever runs out
 *
 * Built by `bench setup`; runs where it is named: `--peers heapwise,mimalloc2,floor`.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define REGION ((char *)0x200000000000)
#define REGION_BYTES (64ul << 30)
#define SPAN_BYTES (64ul << 10)
#define LARGEST (8ul << 30)

/* Up to 1 KiB a class each 16 bytes, from there on eight for each doubling, from 64 KiB on one. */
#define SMALL_MAX 1024
#define MEDIUM_MAX (64ul << 10)
#define SMALL_CLASSES (SMALL_MAX / 16)
#define CLASSES (SMALL_CLASSES + 24 * 8)
/* A list has no more bytes than this, and may always have so many blocks. */
#define LIST_BYTES (256ul << 10)
#define LIST_BLOCKS 4

typedef struct block {
    struct block *next;
    struct block *below; /* of a list in the pool: the next list */
} block;

typedef struct {
    block *head;
    int room;
    char *fresh, *end; /* what is still to be cut */
} list;

typedef struct heap {
    list lists[CLASSES];
    struct heap *next;
} heap;

static uint8_t class_of_span[REGION_BYTES / SPAN_BYTES];
static struct {
    _Alignas(64) atomic_flag taken;
    block *top;
} pool[CLASSES];
static heap nothing;
static __thread heap *own __attribute__((tls_model("initial-exec"))) = &nothing;
static _Atomic(char *) next_span;
static pthread_mutex_t heaps_lock = PTHREAD_MUTEX_INITIALIZER;
static heap *idle_heaps;
static pthread_key_t ending;

static size_t bytes_of(unsigned class) {
    if (class < SMALL_CLASSES) return (class + 1) * 16;
    class -= SMALL_CLASSES;
    return (size_t)(9 + class % 8) << (7 + class / 8);
}

static int room_of(unsigned class) {
    size_t blocks = LIST_BYTES / bytes_of(class);
    return blocks > LIST_BLOCKS ? blocks : LIST_BLOCKS;
}

static inline unsigned class_of(size_t bytes) {
    if (bytes <= SMALL_MAX) return bytes ? (bytes - 1) / 16 : 0;
    unsigned log2 = 63 - __builtin_clzl(--bytes);
    if (bytes >= MEDIUM_MAX) return SMALL_CLASSES + (log2 - 10) * 8 + 7;
    return SMALL_CLASSES + (log2 - 10) * 8 + (bytes >> (log2 - 3) & 7);
}

static char *spans(size_t bytes) {
    char *start = atomic_fetch_add(&next_span, bytes);
    return start + bytes <= REGION + REGION_BYTES ? start : NULL;
}

/* The next thread goes on with what this one had. */
static void end_of_thread(void *of) {
    heap *mine = of;
    own = &nothing;
    pthread_mutex_lock(&heaps_lock);
    mine->next = idle_heaps;
    idle_heaps = mine;
    pthread_mutex_unlock(&heaps_lock);
}

static int begin_thread(void) {
    pthread_mutex_lock(&heaps_lock);
    if (!next_span) {
        int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
        mmap(REGION, REGION_BYTES, PROT_READ | PROT_WRITE, flags, -1, 0);
        madvise(REGION, REGION_BYTES, MADV_HUGEPAGE);
        next_span = REGION;
        pthread_key_create(&ending, end_of_thread);
    }
    heap *mine = idle_heaps;
    if (mine) idle_heaps = mine->next;
    pthread_mutex_unlock(&heaps_lock);
    if (!mine) {
        mine = (heap *)spans((sizeof(heap) + SPAN_BYTES - 1) & -SPAN_BYTES);
        if (!mine) return 0;
        for (unsigned class = 0; class < CLASSES; class++) mine->lists[class].room = room_of(class);
    }
    own = mine;
    pthread_setspecific(ending, mine);
    return 1;
}

static void take(unsigned class) {
    while (atomic_flag_test_and_set_explicit(&pool[class].taken, memory_order_acquire))
        __builtin_ia32_pause();
}

static void leave(unsigned class) {
    atomic_flag_clear_explicit(&pool[class].taken, memory_order_release);
}

static __attribute__((noinline)) void *refill(unsigned class, int *is_fresh) {
    if (own == &nothing && !begin_thread()) return NULL;
    list *from = &own->lists[class];
    size_t bytes = bytes_of(class);
    if (from->head) {
        block *first = from->head;
        from->head = first->next;
        from->room++;
        return first;
    }
    if (pool[class].top) {
        take(class);
        block *first = pool[class].top;
        if (first) pool[class].top = first->below;
        leave(class);
        if (first) {
            /* Counted as none: a list may then grow to twice its length. */
            from->head = first->next;
            from->room = room_of(class);
            return first;
        }
    }
    if (from->fresh + bytes > from->end) {
        size_t all = (bytes + SPAN_BYTES - 1) & -SPAN_BYTES;
        char *start = spans(all);
        if (!start) return NULL;
        memset(&class_of_span[(start - REGION) / SPAN_BYTES], class, all / SPAN_BYTES);
        from->fresh = start;
        from->end = start + all;
    }
    void *first = from->fresh;
    from->fresh += bytes;
    *is_fresh = 1;
    return first;
}

static inline void *allocate(size_t bytes, int *is_fresh) {
    if (__builtin_expect(bytes > LARGEST, 0)) return errno = ENOMEM, NULL;
    unsigned class = class_of(bytes);
    list *from = &own->lists[class];
    block *first = from->head;
    if (__builtin_expect(first != NULL, 1)) {
        from->head = first->next;
        from->room++;
        return first;
    }
    void *block = refill(class, is_fresh);
    if (!block) errno = ENOMEM;
    return block;
}

static __attribute__((noinline)) void give_list(unsigned class) {
    if (own == &nothing) return; /* of a thread that has ended: lost */
    list *from = &own->lists[class];
    block *first = from->head;
    from->head = NULL;
    from->room = room_of(class);
    take(class);
    first->below = pool[class].top;
    pool[class].top = first;
    leave(class);
}

void *malloc(size_t bytes) {
    int is_fresh;
    return allocate(bytes, &is_fresh);
}

void free(void *pointer) {
    size_t offset = (char *)pointer - REGION;
    if (offset >= REGION_BYTES) return;
    unsigned class = class_of_span[offset / SPAN_BYTES];
    heap *mine = own;
    if (__builtin_expect(mine == &nothing, 0)) {
        if (!begin_thread()) return;
        mine = own;
    }
    list *to = &mine->lists[class];
    block *freed = pointer;
    freed->next = to->head;
    to->head = freed;
    if (__builtin_expect(--to->room < 0, 0)) give_list(class);
}

void *calloc(size_t count, size_t each) {
    size_t bytes;
    if (__builtin_mul_overflow(count, each, &bytes)) return errno = ENOMEM, NULL;
    int is_fresh = 0;
    void *block = allocate(bytes, &is_fresh);
    if (block && !is_fresh) memset(block, 0, bytes);
    return block;
}

size_t malloc_usable_size(void *pointer) {
    size_t offset = (char *)pointer - REGION;
    return offset < REGION_BYTES ? bytes_of(class_of_span[offset / SPAN_BYTES]) : 0;
}

void *realloc(void *pointer, size_t bytes) {
    if (!pointer) return malloc(bytes);
    if (!bytes) return free(pointer), NULL;
    size_t had = malloc_usable_size(pointer);
    if (bytes <= had && (bytes >= had / 2 || had <= 64)) return pointer;
    void *block = malloc(bytes);
    if (block) {
        memcpy(block, pointer, bytes < had ? bytes : had);
        free(pointer);
    }
    return block;
}

/* A power of two stands at a multiple of itself, up to a span. */
static void *aligned(size_t alignment, size_t bytes) {
    if (alignment <= 16) return malloc(bytes);
    size_t power = alignment;
    while (power < bytes) power *= 2;
    return malloc(power);
}

int posix_memalign(void **pointer, size_t alignment, size_t bytes) {
    *pointer = aligned(alignment, bytes);
    return *pointer ? 0 : ENOMEM;
}

void *aligned_alloc(size_t alignment, size_t bytes) { return aligned(alignment, bytes); }

void *memalign(size_t alignment, size_t bytes) { return aligned(alignment, bytes); }
