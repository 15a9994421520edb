/* Frees a small chunk twice in a row.
 *
 * stderr: free(): double free detected in tcache 2
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(32);
    free(p);
    free(p);
    survived(NULL, 0);
}
