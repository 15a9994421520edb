/* Frees a chunk from calloc twice.
 *
 * stderr: free(): double free detected in tcache 2
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = calloc(10, 10);
    free(p);
    free(p);
    survived(NULL, 0);
}
