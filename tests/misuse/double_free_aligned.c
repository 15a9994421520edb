/* Frees a chunk from aligned_alloc(256, 512) twice.
 *
 * stderr: free(): double free detected in tcache 2
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = aligned_alloc(256, 512);
    free(p);
    free(p);
    survived(NULL, 0);
}
