/* vfork + exec, posix_spawn, system and popen under load; exec keeps the
 * preload.
 */
#include "check.h"
#include <pthread.h>
#include <spawn.h>
#include <sys/wait.h>

extern char **environ;
static volatile int stop;

static void *load(void *unused)
{
    while (!stop)
        for (int i = 0; i < 1000; i++)
            free(malloc(i * 7));
    return unused;
}

int main(void)
{
    alarm(50);
    pthread_t t;
    pthread_create(&t, NULL, load, NULL);
    char *const argv[] = {"true", NULL};
    for (int i = 0; i < 30; i++) {
        int status;
        pid_t pid = vfork();
        if (pid == 0) {
            execv("/bin/true", argv);
            _exit(127);
        }
        CHECK(waitpid(pid, &status, 0) == pid);
        CHECK(status == 0);
        CHECK(posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ) == 0);
        CHECK(waitpid(pid, &status, 0) == pid);
        CHECK(status == 0);
    }
    CHECK(system("true") == 0);
    FILE *p = popen("echo hello", "r");
    char text[32] = {0};
    CHECK(fgets(text, sizeof text, p) != NULL);
    CHECK(strcmp(text, "hello\n") == 0);
    CHECK(pclose(p) == 0);
    stop = 1;
    pthread_join(t, NULL);
    return 0;
}
