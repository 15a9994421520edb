/* A heap of many MiB, as it looks after some time: chunks of mixed sizes, some freed.
 *
 *   wide MIB LEAST MOST      sizes spread evenly over their logarithms
 *   prints "live=… chunks=…", then waits for a line
 */
#include <malloc.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    size_t wanted = strtoul(argv[1], 0, 0) << 20;
    double least = atof(argv[2]), most = atof(argv[3]);
    /* All chunks from the heap, and the table not among them. */
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    size_t capacity = wanted / (size_t)least + 1;
    void **all = calloc(capacity, sizeof *all);
    if (!all)
        return 1;
    uint64_t state = 1;
    size_t bytes = 0, count = 0;
    double span = log(most / least);
    while (bytes < wanted && count < capacity) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        size_t size = (size_t)(least * exp(span * (double)(state >> 11) / 9007199254740992.0));
        char *chunk = malloc(size);
        if (!chunk)
            return 1;
        for (size_t at = 0; at < size; at += 4096)
            chunk[at] = 1;
        all[count++] = chunk;
        bytes += size;
    }
    size_t live = 0;
    for (size_t i = 0; i < count; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        if (state >> 62 == 0) {
            free(all[i]);
            all[i] = 0;
        } else {
            live++;
        }
    }
    printf("live=%zu chunks=%zu\n", live, count);
    fflush(stdout);
    char line[16];
    return fgets(line, sizeof line, stdin) == 0;
}
