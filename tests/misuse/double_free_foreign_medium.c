/* Two threads free the same 20,000-byte chunk of a third, whose arena is not
 * the main one.
 *
 * stderr: double free or corruption (out)
 * or:     free(): double free detected in tcache 2
 * signal: SIGABRT
 */
#include "misuse.h"

int main(void)
{
    void *p = from_elsewhere(20000);
    in_thread(free_in_thread, p);
    in_thread(free_in_thread, p);
    survived(NULL, 0);
}
