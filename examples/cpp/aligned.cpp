// aligned: types that want more than 16 bytes of alignment get it from new.
#include <cstdint>
#include <cstdio>
#include <memory>
#include <vector>

struct alignas(64) CacheLine {
    long counter = 0;
};

struct alignas(4096) Page {
    char bytes[4096];
};

int main()
{
    auto line = std::make_unique<CacheLine>();
    auto pages = std::make_unique<Page[]>(3);
    std::vector<CacheLine> lines(10);
    bool good = reinterpret_cast<std::uintptr_t>(line.get()) % 64 == 0 &&
                reinterpret_cast<std::uintptr_t>(pages.get()) % 4096 == 0 &&
                reinterpret_cast<std::uintptr_t>(lines.data()) % 64 == 0;
    std::printf("line %p, pages %p, lines %p: %s\n", static_cast<void *>(line.get()),
                static_cast<void *>(pages.get()), static_cast<void *>(lines.data()),
                good ? "aligned" : "not aligned");
    return good ? 0 : 1;
}
