/* foreign SIZE COUNT: one thread allocates COUNT blocks of SIZE bytes and waits,
 * another frees them. Run under callgrind with two counts, the difference is
 * what the frees alone cost, their way home included.
 */
#include <pthread.h>
#include <stdlib.h>

static size_t size;
static long count;
static void **blocks;
static pthread_barrier_t made, freed;

static void *make(void *unused)
{
    for (long i = 0; i < count; i++)
        blocks[i] = malloc(size);
    pthread_barrier_wait(&made);
    pthread_barrier_wait(&freed);
    return unused;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    size = (size_t)atol(argv[1]);
    count = atol(argv[2]);
    blocks = malloc((size_t)count * sizeof *blocks);
    pthread_t maker;
    pthread_barrier_init(&made, NULL, 2);
    pthread_barrier_init(&freed, NULL, 2);
    if (pthread_create(&maker, NULL, make, NULL) != 0)
        return 1;
    pthread_barrier_wait(&made);
    for (long i = 0; i < count; i++)
        free(blocks[i]);
    pthread_barrier_wait(&freed);
    return pthread_join(maker, NULL);
}
