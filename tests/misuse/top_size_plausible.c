/* Writes a larger page-aligned size over that of the wilderness (the "house
 * of orange"); then asks for more.
 *
 * stderr: malloc(): corrupted top size
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    char *p = malloc(60000);
    *header_after(p) += 0x10000;
    for (int i = 0; i < 8; i++)
        malloc(60000);
    free(p);
    survived(NULL, 0);
}
