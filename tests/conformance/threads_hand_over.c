/* 64 threads allocate, free, reallocate and hand blocks over to one another
 * at random through one table; every block carries a pattern that is verified
 * whenever it changes hands.
 *
 * seconds: 100
 */
#include "check.h"
#include <pthread.h>

enum { THREADS = 64, SLOTS = 4096, STEPS = 25000 };
struct block { uint64_t words, mark, data[]; };
static struct block *volatile table[SLOTS];

static void fill(struct block *b, uint64_t words, uint64_t mark)
{
    b->words = words;
    b->mark = mark;
    for (uint64_t i = 0; i < words; i++)
        b->data[i] = mark + i;
}

static void verify(const struct block *b, uint64_t words)
{
    for (uint64_t i = 0; i < words; i++)
        CHECK(b->data[i] == b->mark + i);
}

static uint64_t some_words(uint64_t *state)
{
    uint64_t r = next_random(state);
    if (r % 1000 == 0)
        return next_random(state) % 40000;
    return next_random(state) % (r % 20 ? 60 : 1500);
}

static void *work(void *seed)
{
    uint64_t state = (uintptr_t)seed * 0x9e3779b97f4a7c15u | 1;
    for (int step = 0; step < STEPS; step++) {
        struct block *b = NULL;
        uint64_t words = some_words(&state);
        if (next_random(&state) % 8) {
            b = malloc(sizeof *b + 8 * words);
            CHECK(b != NULL);
            fill(b, words, next_random(&state));
        }
        b = __atomic_exchange_n(&table[next_random(&state) % SLOTS], b, __ATOMIC_ACQ_REL);
        if (!b)
            continue;
        verify(b, b->words);
        if (next_random(&state) % 4 == 0) {
            uint64_t kept = b->words < words ? b->words : words;
            b = realloc(b, sizeof *b + 8 * words);
            CHECK(b != NULL);
            verify(b, kept);
            fill(b, words, next_random(&state));
            verify(b, words);
        }
        free(b);
    }
    return NULL;
}

int main(void)
{
    for (int round = 0; round < 3; round++) {
        pthread_t t[THREADS];
        for (size_t i = 0; i < THREADS; i++)
            CHECK(pthread_create(&t[i], NULL, work, (void *)(i + 1 + round * 1000)) == 0);
        for (int i = 0; i < THREADS; i++)
            pthread_join(t[i], NULL);
    }
    for (int i = 0; i < SLOTS; i++)
        if (table[i]) {
            verify(table[i], table[i]->words);
            free(table[i]);
        }
    struct mallinfo2 m = mallinfo2();
    CHECK(m.uordblks + m.fordblks == m.arena);
    return 0;
}
