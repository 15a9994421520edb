/* Frees a chunk of 4000 bytes twice, with a live chunk behind it.
 *
 * stderr: double free or corruption (!prev)
 * or:     free(): double free detected in tcache 2
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(4000);
    char *guard = malloc(4000);
    free(p);
    free(p);
    survived(guard, 4000);
}
