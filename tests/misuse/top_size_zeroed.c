/* Writes zero bytes over the size of the wilderness; then asks for more.
 *
 * stderr: malloc(): corrupted top size
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(60000);
    memset(header_after(p), 0, 8);
    for (int i = 0; i < 8; i++)
        malloc(60000);
    free(p);
    survived(NULL, 0);
}
