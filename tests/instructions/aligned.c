/* aligned SIZE COUNT: takes blocks of SIZE bytes at multiples of 32, gives them
 * back, and then takes and frees one COUNT times at the largest alignment that
 * SIZE is a multiple of. Run under callgrind with two counts, the difference is
 * what the pairs alone cost: those that came first serve at the first look.
 */
#include <stdlib.h>

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    size_t size = (size_t)atol(argv[1]);
    long count = atol(argv[2]);
    void *warm[32];
    for (int i = 0; i < 32; i++)
        if (posix_memalign(&warm[i], 32, size) != 0)
            return 1;
    for (int i = 0; i < 32; i++)
        free(warm[i]);
    for (long i = 0; i < count; i++) {
        void *p;
        if (posix_memalign(&p, size & -size, size) != 0)
            return 1;
        free(p);
    }
    return 0;
}
