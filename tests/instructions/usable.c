/* usable SIZE COUNT: takes a block of SIZE bytes, and others behind it, and asks COUNT
 * times how much of it may be used. Run under callgrind with two counts, the difference
 * is what the questions alone cost.
 */
#include <malloc.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    size_t size = (size_t)atol(argv[1]);
    long count = atol(argv[2]);
    void *block = malloc(size);
    void *behind[8];
    for (int i = 0; i < 8; i++)
        behind[i] = malloc(size);
    for (long i = 0; i < count; i++)
        if (malloc_usable_size(block) < size)
            return 1;
    for (int i = 0; i < 8; i++)
        free(behind[i]);
    free(block);
    return 0;
}
