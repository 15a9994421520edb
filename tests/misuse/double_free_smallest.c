/* Frees a chunk from malloc(0) twice.
 *
 * stderr: free(): double free detected in tcache 2
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(0);
    free(p);
    free(p);
    survived(NULL, 0);
}
