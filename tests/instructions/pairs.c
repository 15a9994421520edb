/* pairs SIZE COUNT: warms the caches up, then allocates and frees a block of
 * SIZE bytes COUNT times. Run under callgrind with two counts, the difference
 * is what the pairs alone cost.
 */
#include <stdlib.h>

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    size_t size = (size_t)atol(argv[1]);
    long count = atol(argv[2]);
    void *warm[64];
    for (int i = 0; i < 64; i++)
        warm[i] = malloc(size);
    for (int i = 0; i < 64; i++)
        free(warm[i]);
    for (long i = 0; i < count; i++) {
        void *volatile p = malloc(size);
        free(p);
    }
    return 0;
}
