/* malloc_info: well-formed XML of glibc's form; EINVAL for other options. */
#include "check.h"
#include <pthread.h>

static pthread_barrier_t barrier;

static void *work(void *unused)
{
    void *p = malloc(5000);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    free(p);
    return unused;
}

/* Tags open and close in pairs; attribute values are quoted. */
static void well_formed(const char *text)
{
    char open[32][32];
    int depth = 0, roots = 0;
    for (const char *s = text; *s;) {
        if (*s != '<') {
            CHECK(*s != '>' && *s != '&');
            CHECK(depth > 0 || *s == '\n' || *s == ' ');
            s++;
            continue;
        }
        const char *end = strchr(s, '>');
        CHECK(end != NULL);
        int closing = s[1] == '/', single = end[-1] == '/';
        const char *name = s + 1 + closing;
        size_t n = strcspn(name, " />");
        CHECK(n > 0 && n < 32);
        int quotes = 0;
        for (const char *c = s; c < end; c++)
            quotes += *c == '"';
        CHECK(quotes % 2 == 0);
        if (closing) {
            CHECK(depth > 0);
            depth--;
            CHECK(strlen(open[depth]) == n && strncmp(open[depth], name, n) == 0);
        } else {
            roots += depth == 0;
            if (!single) {
                CHECK(depth < 32);
                memcpy(open[depth], name, n);
                open[depth++][n] = 0;
            }
        }
        s = end + 1;
    }
    CHECK(depth == 0);
    CHECK(roots == 1);
}

int main(void)
{
    static void *p[3000];
    for (int i = 0; i < 3000; i++)
        p[i] = malloc(i * 7);
    for (int i = 0; i < 3000; i += 3)
        free(p[i]);
    void *map = malloc(1 << 20);
    pthread_t t;
    pthread_barrier_init(&barrier, NULL, 2);
    pthread_create(&t, NULL, work, NULL);
    pthread_barrier_wait(&barrier);

    static char text[1 << 20];
    FILE *f = fmemopen(text, sizeof text, "w");
    CHECK(malloc_info(0, f) == 0);
    fclose(f);
    well_formed(text);
    CHECK(strncmp(text, "<malloc version=\"1\">", 20) == 0);
    CHECK(strstr(text, "<heap nr=\"0\">") != NULL);
    CHECK(strstr(text, "<sizes>") != NULL);
    CHECK(strstr(text, "<total type=\"fast\" count=\"") != NULL);
    CHECK(strstr(text, "<total type=\"rest\" count=\"") != NULL);
    CHECK(strstr(text, "<total type=\"mmap\" count=\"1\" size=\"") != NULL);
    CHECK(strstr(text, "<system type=\"current\" size=\"") != NULL);
    CHECK(strstr(text, "<system type=\"max\" size=\"") != NULL);
    CHECK(strstr(text, "<aspace type=\"total\" size=\"") != NULL);
    CHECK(strstr(text, "<aspace type=\"mprotect\" size=\"") != NULL);

    f = fmemopen(text, sizeof text, "w");
    errno = 0;
    int result = malloc_info(1, f);
    CHECK(result == EINVAL || (result == -1 && errno == EINVAL));
    fclose(f);
    pthread_barrier_wait(&barrier);
    pthread_join(t, NULL);
    free(map);
    return 0;
}
