/* tuning: mallopt, the figures of mallinfo2, and the XML of malloc_info. */
#include <heapwise.h>

static void figures(const char *when)
{
    struct mallinfo2 m = mallinfo2();
    printf("%-26s %8zu in use %8zu free %2zu mappings of %zu\n", when, m.uordblks, m.fordblks,
           m.hblks, m.hblkhd);
}

int main(void)
{
    printf("built for Heapwise %s (%d)\n", HEAPWISE_VERSION, HEAPWISE_VERSION_NUMBER);
    if (!mallopt(M_MMAP_THRESHOLD, 64 * 1024) || !mallopt(M_TOP_PAD, 1024 * 1024))
        return EXIT_FAILURE;

    figures("at first");
    char *heap = malloc(30000);
    char *map = malloc(100000); /* over the threshold of 64 KiB */
    figures("30 kB and 100 kB");
    printf("usable: %zu and %zu bytes\n", malloc_usable_size(heap), malloc_usable_size(map));
    free(heap);
    free(map);
    figures("freed");
    return malloc_info(0, stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
