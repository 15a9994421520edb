/* Frees a chunk whose memory has been handed out again, which no allocator
 * of this kind can know; the new owner's own free is then the second one and
 * is caught.
 *
 * stderr: free(): double free detected in tcache 2
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(32);
    free(p);
    char *q = malloc(32);
    free(p);
    if (q != p)
        return 2;
    free(q);
    survived(NULL, 0);
}
