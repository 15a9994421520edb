/* A survivor on top: a burst of middling blocks, then one small block that stays, then the burst
 * is freed: nothing below the survivor goes back. The cure: a mmap threshold below their size. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A block, written as a whole; the compiler is not to see through it. */
static void *fresh(size_t bytes) {
    void *block = memset(malloc(bytes), 1, bytes);
    __asm__ volatile("" : : "r"(block) : "memory");
    return block;
}

enum { BLOCKS = 600, PAIRS = 100000 };

int main(void) {
    static void *blocks[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) {
        size_t bytes = (70 << 10) + i % 7 * 1000;
        blocks[i] = fresh(bytes);
    }
    char *survivor = fresh(500);
    for (int i = 0; i < BLOCKS; i++) free(blocks[i]);
    for (int i = 0; i < PAIRS; i++) {
        size_t bytes = 16 + i % 400;
        char *small = fresh(bytes);
        survivor[i % 500] += small[0];
        free(small);
    }
    usleep(100 * 1000);
    return survivor[0] == 0;
}
