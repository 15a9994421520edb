/* Producers allocate, consumers check the contents and free; then the other
 * way round, so that every cache sees foreign blocks.
 */
#include "check.h"
#include <pthread.h>

enum { PAIRS = 4, RING = 512, ITEMS = 200000 };
struct item { uint32_t n, sum; unsigned char data[]; };
static struct ring { struct item *volatile slot[RING]; } ring[PAIRS];

static void *produce(void *r)
{
    struct ring *to = r;
    uint64_t state = (uintptr_t)r | 1;
    for (int k = 0; k < ITEMS; k++) {
        uint32_t n = next_random(&state) % (k % 200 ? 400 : 30000);
        struct item *item = malloc(sizeof *item + n);
        CHECK(item != NULL);
        item->n = n;
        item->sum = 0;
        for (uint32_t i = 0; i < n; i++)
            item->sum += item->data[i] = (unsigned char)(state >> (i % 56));
        struct item *volatile *slot = &to->slot[k % RING];
        while (__atomic_load_n(slot, __ATOMIC_ACQUIRE) != NULL)
            usleep(50);
        __atomic_store_n(slot, item, __ATOMIC_RELEASE);
    }
    return NULL;
}

static void *consume(void *r)
{
    struct ring *from = r;
    for (int k = 0; k < ITEMS; k++) {
        struct item *volatile *slot = &from->slot[k % RING], *item;
        while ((item = (void *)__atomic_load_n(slot, __ATOMIC_ACQUIRE)) == NULL)
            usleep(50);
        __atomic_store_n(slot, NULL, __ATOMIC_RELEASE);
        struct item *got = (struct item *)item;
        uint32_t sum = 0;
        for (uint32_t i = 0; i < got->n; i++)
            sum += got->data[i];
        CHECK(sum == got->sum);
        free(got);
    }
    return NULL;
}

int main(void)
{
    pthread_t t[2 * PAIRS];
    for (int i = 0; i < PAIRS; i++) {
        pthread_create(&t[2 * i], NULL, produce, &ring[i]);
        pthread_create(&t[2 * i + 1], NULL, consume, &ring[i]);
    }
    for (int i = 0; i < 2 * PAIRS; i++)
        pthread_join(t[i], NULL);
    CHECK(resident_kib() < 200 * 1024); /* nothing piled up on one side */
    return 0;
}
