/* Exceptions travel through threads that allocate; exception objects live on
 * the heap, too.
 */
#include "check.h"
#include <exception>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

static int deep(int n)
{
    std::string local(n * 10, 'x');
    if (n == 0)
        throw std::runtime_error(std::string(200, 'e'));
    return deep(n - 1) + (int)local.size();
}

int main()
{
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; i++)
        threads.emplace_back([] {
            for (int k = 0; k < 500; k++) {
                try {
                    deep(k % 30);
                    CHECK(false);
                } catch (const std::exception &e) {
                    CHECK(std::string(e.what()).size() == 200);
                }
                try {
                    std::vector<int> v;
                    v.reserve(v.max_size());
                    CHECK(false);
                } catch (const std::bad_alloc &) {
                }
            }
        });
    for (auto &t : threads)
        t.join();
    return 0;
}
