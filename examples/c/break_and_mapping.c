/* break_and_mapping: the two system calls below every malloc, by hand. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int main(void)
{
    char *start = sbrk(0);
    if (brk(start + 4096) != 0)
        return EXIT_FAILURE;
    char *grown = sbrk(0);
    start[0] = 'x'; /* the page is there now */
    if (brk(start) != 0)
        return EXIT_FAILURE;
    char *back = sbrk(0);

    char *map = mmap(NULL, 132 * 1024, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return EXIT_FAILURE;
    map[132 * 1024 - 1] = 'x';
    munmap(map, 132 * 1024);

    printf("break  %p, + %td, back by %td\n", (void *)start, grown - start, grown - back);
    printf("mmap   132 KiB at %p, and unmapped\n", (void *)map);
    return EXIT_SUCCESS;
}
