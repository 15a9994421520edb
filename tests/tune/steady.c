/* Nothing to gain: small blocks that the program really holds, replaced by others of their size. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A block, written as a whole; the compiler is not to see through it. */
static void *fresh(size_t bytes) {
    void *block = memset(malloc(bytes), 1, bytes);
    __asm__ volatile("" : : "r"(block) : "memory");
    return block;
}

enum { BLOCKS = 30000, STEPS = 60000 };

int main(void) {
    static void *blocks[BLOCKS];
    uint64_t state = 1;
    for (int i = 0; i < BLOCKS; i++) {
        size_t bytes = 100 + i % 50 * 16;
        blocks[i] = fresh(bytes);
    }
    for (int step = 0; step < STEPS; step++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        int i = (state >> 33) % BLOCKS;
        size_t bytes = 100 + i % 50 * 16;
        free(blocks[i]);
        blocks[i] = fresh(bytes);
    }
    usleep(100 * 1000);
    return 0;
}
