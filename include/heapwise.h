/* heapwise.h: what libheapwise offers to C and C++.
 *
 * Heapwise is a drop-in malloc: a program that is linked with -lheapwise, or
 * started with LD_PRELOAD=libheapwise.so, needs no change and no header. This
 * one declares the whole of the list in one place, says what each function
 * promises here, and fills in what an older C library does not declare.
 *
 * All sizes are in bytes. A pointer is aligned to 16 unless said otherwise.
 * Where a function "fails" it returns NULL and sets errno to ENOMEM, also for
 * every size above PTRDIFF_MAX; what lives stays as it is. A pointer that did
 * not come from here, was freed before, or points into the middle of a block
 * ends the program with one line on standard error and SIGABRT.
 */
#ifndef HEAPWISE_H
#define HEAPWISE_H

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <malloc.h>

/* The version, as text and as one number that grows. */
#define HEAPWISE_VERSION_MAJOR 0
#define HEAPWISE_VERSION_MINOR 1
#define HEAPWISE_VERSION_PATCH 0
#define HEAPWISE_VERSION "0.1.0"
#define HEAPWISE_VERSION_NUMBER \
    (HEAPWISE_VERSION_MAJOR * 10000 + HEAPWISE_VERSION_MINOR * 100 + HEAPWISE_VERSION_PATCH)

/* None of these functions throws; C++ wants to be told as glibc tells it. */
#if defined(__GLIBC__) && defined(__cplusplus)
#define HEAPWISE_NOTHROW __THROW
#else
#define HEAPWISE_NOTHROW
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------- allocation */

/* A block of at least `size` bytes. malloc(0) is a block of its own. */
extern void *malloc(size_t size) HEAPWISE_NOTHROW;

/* Gives a block back; free(NULL) does nothing. Leaves errno alone. */
extern void free(void *block) HEAPWISE_NOTHROW;

/* A block of count * size bytes, all zero. Fails if the product overflows. */
extern void *calloc(size_t count, size_t size) HEAPWISE_NOTHROW;

/* The block with another size, moved if it must be; contents are kept up to
 * the smaller of the two sizes. realloc(NULL, n) is malloc(n); realloc(p, 0)
 * frees p and returns NULL. On failure the old block is untouched. */
extern void *realloc(void *block, size_t size) HEAPWISE_NOTHROW;

/* realloc to count * size bytes. Fails if the product overflows. */
extern void *reallocarray(void *block, size_t count, size_t size) HEAPWISE_NOTHROW;

/* ---------------------------------------------------- aligned allocation */

/* A block aligned to `alignment`, a power of two and a multiple of
 * sizeof(void *). Returns 0, EINVAL or ENOMEM; errno and, on failure, *block
 * are left alone. */
extern int posix_memalign(void **block, size_t alignment, size_t size) HEAPWISE_NOTHROW;

/* The same for any power of two; NULL and EINVAL for another alignment. */
extern void *aligned_alloc(size_t alignment, size_t size) HEAPWISE_NOTHROW;

/* The same, older: an alignment that is no power of two is rounded up to one. */
extern void *memalign(size_t alignment, size_t size) HEAPWISE_NOTHROW;

/* Aligned to a page; pvalloc also rounds the size up to whole pages. */
extern void *valloc(size_t size) HEAPWISE_NOTHROW;
extern void *pvalloc(size_t size) HEAPWISE_NOTHROW;

/* ------------------------------------------------------ freeing, otherwise */

/* C23: free for who knows the size, or the alignment and the size, that the
 * block was asked for with. */
extern void free_sized(void *block, size_t size) HEAPWISE_NOTHROW;
extern void free_aligned_sized(void *block, size_t alignment, size_t size) HEAPWISE_NOTHROW;

/* The same as free; old programs name it. */
extern void cfree(void *block) HEAPWISE_NOTHROW;

/* ------------------------------------------------------------- the heap */

/* The bytes of a block that may be used: what was asked for, or some more.
 * 0 for NULL. */
extern size_t malloc_usable_size(void *block) HEAPWISE_NOTHROW;

/* Gives the pages of free memory back to the system, in every arena, and
 * keeps `pad` bytes on top of the main heap. 1 if something went back, else 0.
 * Heapwise does this by itself; the call is for who cannot wait. */
extern int malloc_trim(size_t pad) HEAPWISE_NOTHROW;

/* Parameters of mallopt, with their environment variables and defaults. */
#ifndef M_MXFAST
#define M_MXFAST 1 /* largest request for the fastbins: 0 to 160 bytes; 128 */
#endif
#ifndef M_TRIM_THRESHOLD
#define M_TRIM_THRESHOLD -1 /* MALLOC_TRIM_THRESHOLD_: bytes free on top; 128 KiB, moves */
#define M_TOP_PAD -2        /* MALLOC_TOP_PAD_: bytes asked for in advance; 128 KiB */
#define M_MMAP_THRESHOLD -3 /* MALLOC_MMAP_THRESHOLD_: from here on a mapping each; 128 KiB, moves */
#define M_MMAP_MAX -4       /* MALLOC_MMAP_MAX_: mappings at one time; 65536 */
#define M_CHECK_ACTION -5   /* MALLOC_CHECK_: taken and without effect, checks are always on */
#define M_PERTURB -6        /* MALLOC_PERTURB_: byte to fill freed memory with; 0 is off */
#define M_ARENA_TEST -7     /* MALLOC_ARENA_TEST */
#define M_ARENA_MAX -8      /* MALLOC_ARENA_MAX: arenas at most; 8 a usable core */
#endif

/* Sets a parameter: 1 if taken, 0 if the value is out of range. Unknown
 * parameters return 1. Setting a threshold or M_MMAP_MAX stops the thresholds
 * from moving by themselves. */
extern int mallopt(int parameter, int value) HEAPWISE_NOTHROW;

#if !defined(__GLIBC__) || !defined(__GLIBC_PREREQ) || !__GLIBC_PREREQ(2, 33)
/* Figures of all arenas together, in bytes and counts. */
struct mallinfo2 {
    size_t arena;    /* bytes from the system in arenas: uordblks + fordblks */
    size_t ordblks;  /* free chunks, tops included */
    size_t smblks;   /* free chunks in fastbins */
    size_t hblks;    /* blocks with a mapping of their own */
    size_t hblkhd;   /* bytes in those */
    size_t usmblks;  /* always 0 */
    size_t fsmblks;  /* bytes in fastbins */
    size_t uordblks; /* bytes in use */
    size_t fordblks; /* bytes free, tops included */
    size_t keepcost; /* bytes of the main heap's top */
};
#endif

/* The figures; mallinfo is the same in int, which wraps above 2 GiB. */
extern struct mallinfo2 mallinfo2(void) HEAPWISE_NOTHROW;

/* Writes the state of all arenas to `stream` as XML. `options` must be 0:
 * anything else is EINVAL. Returns 0 on success. */
extern int malloc_info(int options, FILE *stream) HEAPWISE_NOTHROW;

/* Writes a summary of all arenas to standard error. */
extern void malloc_stats(void) HEAPWISE_NOTHROW;

#ifdef __cplusplus
}
#endif

#endif
