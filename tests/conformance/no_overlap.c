/* Live chunks never overlap: a long single-threaded mix of all sizes and all
 * ways to allocate, every block filled with its own number and checked.
 */
#include "check.h"

enum { SLOTS = 3000 };
static struct { uint64_t *p; size_t words; uint64_t mark; } slot[SLOTS];
static uint64_t state = 12345;

static size_t random_size(void)
{
    uint64_t r = next_random(&state);
    switch (r % 100) {
    case 0: return 8 + next_random(&state) % (1 << 20);
    case 1: case 2: case 3: return 8 + next_random(&state) % 200000;
    case 4: case 5: case 6: case 7: case 8: return 8 + next_random(&state) % 20000;
    default: return 8 + next_random(&state) % 1500;
    }
}

static void fill(int i)
{
    for (size_t k = 0; k < slot[i].words; k++)
        slot[i].p[k] = slot[i].mark;
}

static void verify(int i)
{
    for (size_t k = 0; k < slot[i].words; k++)
        CHECK(slot[i].p[k] == slot[i].mark);
}

int main(void)
{
    for (uint64_t step = 1; step < 400000; step++) {
        int i = next_random(&state) % SLOTS;
        size_t n = random_size();
        verify(i);
        switch (next_random(&state) % 8) {
        case 0:
            free(slot[i].p);
            slot[i].p = NULL;
            slot[i].words = 0;
            break;
        case 1: {
            size_t kept = slot[i].words < n / 8 ? slot[i].words : n / 8;
            uint64_t *p = realloc(slot[i].p, n);
            CHECK(p != NULL);
            for (size_t k = 0; k < kept; k++)
                CHECK(p[k] == slot[i].mark);
            slot[i].p = p;
            break;
        }
        case 2: {
            free(slot[i].p);
            slot[i].p = calloc(1, n);
            CHECK(slot[i].p != NULL);
            for (size_t k = 0; k < n / 8; k++)
                CHECK(slot[i].p[k] == 0);
            break;
        }
        case 3: {
            free(slot[i].p);
            size_t alignment = (size_t)16 << next_random(&state) % 10;
            slot[i].p = memalign(alignment, n);
            CHECK((uintptr_t)slot[i].p % alignment == 0);
            break;
        }
        default:
            free(slot[i].p);
            slot[i].p = malloc(n);
        }
        if (slot[i].p) {
            slot[i].words = n / 8;
            slot[i].mark = step;
            fill(i);
        }
        if (step % 100000 == 0)
            malloc_trim(0);
    }
    for (int i = 0; i < SLOTS; i++) {
        verify(i);
        free(slot[i].p);
    }
    return 0;
}
