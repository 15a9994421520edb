/* malloc_stats writes to standard error, nothing to standard output. */
#include "check.h"
#include <fcntl.h>

int main(void)
{
    void *p = malloc(1000);
    int saved = dup(2);
    int fd = open("/tmp", O_TMPFILE | O_RDWR, 0600);
    CHECK(fd >= 0);
    dup2(fd, 2);
    malloc_stats();
    fflush(stderr);
    dup2(saved, 2);
    static char text[100000];
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    CHECK(n > 0);
    CHECK(strstr(text, "Arena 0:") != NULL);
    CHECK(strstr(text, "system bytes") != NULL);
    CHECK(strstr(text, "in use bytes") != NULL);
    CHECK(strstr(text, "Total (incl. mmap):") != NULL);
    CHECK(strstr(text, "max mmap regions") != NULL);
    CHECK(strstr(text, "max mmap bytes") != NULL);
    free(p);
    return 0;
}
