/* A program with operator new and delete of its own, on malloc and with a
 * header of its own: ours must not take their place.
 */
#include "check.h"
#include <map>
#include <memory>
#include <new>
#include <string>
#include <vector>

static size_t live, total;

void *operator new(size_t n)
{
    size_t *p = static_cast<size_t *>(malloc(n + 16));
    if (!p)
        throw std::bad_alloc();
    p[0] = 0x123456789abcdef0;
    p[1] = n;
    live += n;
    total++;
    return p + 2;
}

void operator delete(void *q) noexcept
{
    if (!q)
        return;
    size_t *p = static_cast<size_t *>(q) - 2;
    CHECK(p[0] == 0x123456789abcdef0);
    p[0] = 0;
    live -= p[1];
    free(p);
}

void operator delete(void *q, size_t n) noexcept
{
    CHECK(static_cast<size_t *>(q)[-1] == n);
    operator delete(q);
}

int main()
{
    size_t before = live;
    {
        std::map<int, std::string> m;
        std::vector<std::unique_ptr<std::string>> v;
        for (int i = 0; i < 1000; i++) {
            m[i] = std::string(i, 'x');
            v.push_back(std::make_unique<std::string>(i * 2, 'y'));
        }
    }
    CHECK(live == before);
    CHECK(total > 3000);
    return 0;
}
