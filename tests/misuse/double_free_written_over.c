/* Frees a chunk, writes over all of its bytes (which wipes the mark that
 * glibc keeps there), and frees it again.
 *
 * stderr: free(): double free detected in tcache 2
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(32);
    free(p);
    memset(p, 0x42, 32);
    free(p);
    survived(NULL, 0);
}
