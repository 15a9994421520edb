/* give_back: 100 MB in small blocks, of which the middle 99 are freed. What
 * stays resident, at once, after two seconds of idling, and after malloc_trim.
 *
 * glibc keeps the pages until somebody calls malloc_trim; Heapwise does not.
 */
#include <heapwise.h>
#include <string.h>
#include <unistd.h>

enum { BLOCKS = 50000, BLOCK_BYTES = 2000 };

static long resident_mib(void)
{
    long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    if (!statm || fscanf(statm, "%*d %ld", &pages) != 1)
        exit(EXIT_FAILURE);
    fclose(statm);
    return pages * sysconf(_SC_PAGESIZE) / (1024 * 1024);
}

int main(void)
{
    static char *block[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) {
        block[i] = malloc(BLOCK_BYTES);
        if (!block[i])
            return EXIT_FAILURE;
        memset(block[i], 1, BLOCK_BYTES);
    }
    printf("all in use          %4ld MiB resident\n", resident_mib());
    for (int i = BLOCKS / 200; i < BLOCKS - BLOCKS / 200; i++)
        free(block[i]);
    printf("the middle freed    %4ld MiB\n", resident_mib());
    sleep(2);
    printf("two seconds later   %4ld MiB\n", resident_mib());
    int gave = malloc_trim(0);
    printf("malloc_trim(0) = %d  %4ld MiB\n", gave, resident_mib());
    return EXIT_SUCCESS;
}
