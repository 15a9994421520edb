/* mallinfo2 and mallinfo: their figures add up and follow what is done. */
#include "check.h"
#include <pthread.h>

static void sound(void)
{
    struct mallinfo2 m = mallinfo2();
    CHECK(m.uordblks + m.fordblks == m.arena);
    CHECK(m.keepcost <= m.fordblks);
    CHECK(m.ordblks >= 1);
    CHECK(m.fsmblks <= m.fordblks);
    CHECK((m.hblks == 0) == (m.hblkhd == 0));
    struct mallinfo old = mallinfo();
    CHECK((size_t)old.arena == m.arena || m.arena > 0x7fffffff);
    CHECK((size_t)old.hblks == m.hblks);
}

static void *work(void *unused)
{
    void *p[100];
    for (int i = 0; i < 100; i++)
        p[i] = malloc(1000);
    for (int i = 0; i < 100; i++)
        free(p[i]);
    return unused;
}

int main(void)
{
    void *first = malloc(1);
    sound();
    struct mallinfo2 before = mallinfo2();
    void *map = malloc(1 << 20);
    struct mallinfo2 with = mallinfo2();
    CHECK(with.hblks == before.hblks + 1);
    CHECK(with.hblkhd >= before.hblkhd + (1 << 20));
    CHECK(with.arena == before.arena);
    free(map);
    CHECK(mallinfo2().hblks == before.hblks);
    CHECK(mallinfo2().hblkhd == before.hblkhd);

    enum { N = 1000 };
    static void *p[N];
    for (int i = 0; i < N; i++)
        p[i] = malloc(50000);
    struct mallinfo2 full = mallinfo2();
    sound();
    CHECK(full.uordblks >= before.uordblks + N * 50000);
    for (int i = 0; i < N; i += 2)
        free(p[i]);
    sound();
    struct mallinfo2 holes = mallinfo2();
    CHECK(holes.uordblks < full.uordblks);
    for (int i = 1; i < N; i += 2)
        free(p[i]);
    sound();

    pthread_t t[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, work, NULL);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    sound();
    free(first);
    sound();
    return 0;
}
