/* check.h: what the conformance programs share.
 *
 * A program checks one promise of the drop-in contract and exits with status
 * 0; CHECK says on stdout what was broken and where, and exits with 1.
 */
#ifndef HEAPWISE_TESTS_CHECK_H
#define HEAPWISE_TESTS_CHECK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* No printf: the heap may be what is broken. */
static void failed(const char *what, int line)
{
    char text[400];
    int n = 0;
    for (const char *s = "line "; *s; s++)
        text[n++] = *s;
    char digits[12];
    int d = 0;
    do
        digits[d++] = '0' + line % 10;
    while ((line /= 10) > 0);
    while (d > 0)
        text[n++] = digits[--d];
    for (const char *s = ": does not hold: "; *s; s++)
        text[n++] = *s;
    for (const char *s = what; *s && n < 398; s++)
        text[n++] = *s;
    text[n++] = '\n';
    if (write(1, text, n) != n)
        _exit(3);
    _exit(1);
}

#define CHECK(condition)                                                       \
    do {                                                                       \
        if (!(condition))                                                      \
            failed(#condition, __LINE__);                                      \
    } while (0)

/* Is this the library under test, or the C library's own malloc? */
static inline int on_heapwise(void)
{
    return getenv("HEAPWISE_LIB") != NULL;
}

/* xorshift64*, one state a thread: the same numbers in every run. */
static inline uint64_t next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1du;
}

/* Resident memory of this process, in KiB; reads without the heap. */
static inline long resident_kib(void)
{
    char text[256] = {0};
    int fd = open("/proc/self/statm", O_RDONLY);
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return -1;
    char *second = strchr(text, ' ');
    return atol(second + 1) * (sysconf(_SC_PAGESIZE) / 1024);
}

#endif
