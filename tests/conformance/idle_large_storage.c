/* As idle_gives_back, in a program with much thread-local storage: the C library's errno then lies
 * far below the thread pointer, for the helper as well, which calls into the C library. It is to
 * work all the same, and is seen by its name.
 */
#include "gives_back.h"
#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>

static __thread volatile char storage[100 << 10];
static atomic_int seen;

static void look(void)
{
    DIR *tasks = opendir("/proc/self/task");
    for (struct dirent *task; tasks && (task = readdir(tasks));) {
        char path[300], name[32] = "";
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", task->d_name);
        FILE *file = fopen(path, "r");
        if (file == NULL)
            continue;
        if (fgets(name, sizeof name, file) && strcmp(name, "heapwise-idle\n") == 0)
            seen = 1;
        fclose(file);
    }
    if (tasks)
        closedir(tasks);
}

static void *watch(void *unused)
{
    storage[0] = 1;
    while (!seen) {
        look();
        usleep(10000);
    }
    return unused;
}

int main(void)
{
    storage[sizeof storage - 1] = 1;
    pthread_t t;
    pthread_create(&t, NULL, watch, NULL);
    CHECK(gives_back(5));
    for (int tenths = 0; on_heapwise() && tenths < 100 && !seen; tenths++)
        usleep(100000);
    CHECK(seen || !on_heapwise());
    return 0;
}
