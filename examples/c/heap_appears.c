/* heap_appears: /proc/self/maps before and after the first byte, and after a
 * large block comes and goes. Writes without stdio, which would allocate.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void say(const char *text)
{
    if (write(STDOUT_FILENO, text, strlen(text)) < 0)
        _exit(EXIT_FAILURE);
}

/* Prints the line of the maps that `block` lies in, or the [heap] for NULL. */
static void show(const void *block)
{
    static char maps[1 << 16];
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    size_t n = 0;
    for (ssize_t got; n < sizeof maps - 1 && (got = read(fd, maps + n, sizeof maps - 1 - n)) > 0;)
        n += (size_t)got;
    close(fd);
    maps[n] = '\0';
    for (char *line = strtok(maps, "\n"); line; line = strtok(NULL, "\n")) {
        char *end;
        unsigned long from = strtoul(line, &end, 16), to = strtoul(end + 1, NULL, 16);
        if (block ? from <= (unsigned long)block && (unsigned long)block < to
                  : strstr(line, "[heap]") != NULL) {
            say("    ");
            say(line);
            say("\n");
            return;
        }
    }
    say("    (none)\n");
}

int main(void)
{
    say("before the first malloc, the heap is:\n");
    show(NULL);
    char *byte = malloc(1);
    say("after malloc(1), 132 KiB:\n");
    show(NULL);
    char *large = malloc(256 * 1024);
    say("malloc(256 KiB) lies in:\n");
    show(large);
    free(large);
    say("and after its free in:\n");
    show(large);
    free(byte);
    say("after free of the one byte, the heap stays:\n");
    show(NULL);
    return EXIT_SUCCESS;
}
