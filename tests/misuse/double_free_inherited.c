/* The child of a fork frees, twice, a chunk that another thread of the
 * parent had allocated.
 *
 * stderr: free(): double free detected in tcache 2
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    void *p = from_elsewhere(100);
    pid_t child = fork();
    if (child == 0) {
        free(p);
        free(p);
        survived(NULL, 0);
    }
    int status;
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status)) {
        signal(WTERMSIG(status), SIG_DFL);
        raise(WTERMSIG(status));
    }
    return WEXITSTATUS(status);
}
