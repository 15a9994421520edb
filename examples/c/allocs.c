/* allocs: two small blocks and a large one, and where they lie.
 *
 *   strace -e brk,mmap,munmap ./allocs
 *
 * The first malloc moves the break once, by 132 KiB, and both small blocks
 * come from there. 256 KiB gets a mapping of its own, which free unmaps.
 */
#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    char *a = malloc(32);
    char *b = malloc(128);
    char *c = malloc(256 * 1024);
    if (!a || !b || !c)
        return EXIT_FAILURE;

    printf("a = %p   32 bytes\n", (void *)a);
    printf("b = %p  128 bytes, %td further on: 32 bytes and a header make 48\n", (void *)b, b - a);
    printf("c = %p  256 KiB, elsewhere\n", (void *)c);

    free(a);
    free(b);
    free(c);
    return EXIT_SUCCESS;
}
