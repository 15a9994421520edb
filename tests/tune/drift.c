/* The threshold drifts: one freed buffer of 4 MiB raises the mmap threshold, so buffers of 1 MiB
 * come from the heap from then on, and small blocks between them keep their holes. The cure:
 * a fixed mmap threshold. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A block, written as a whole; the compiler is not to see through it. */
static void *fresh(size_t bytes) {
    void *block = memset(malloc(bytes), 1, bytes);
    __asm__ volatile("" : : "r"(block) : "memory");
    return block;
}

enum { BUFFERS = 40 };

int main(void) {
    static void *buffers[BUFFERS], *kept[BUFFERS];
    free(fresh(4 << 20));
    for (int i = 0; i < BUFFERS; i++) {
        buffers[i] = fresh((1 << 20) + i * 5000);
        kept[i] = fresh(200);
    }
    for (int i = 0; i < BUFFERS; i++) free(buffers[i]);
    usleep(150 * 1000);
    return kept[0] == NULL;
}
