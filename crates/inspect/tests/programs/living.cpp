// What C++'s containers and operator new hold, counted from inside.
#include <malloc.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

static std::size_t live, live_bytes;

void *operator new(std::size_t size) {
    void *p = std::malloc(size);
    if (!p) throw std::bad_alloc();
    std::memset(p, 0x5a, malloc_usable_size(p));
    live++;
    live_bytes += malloc_usable_size(p);
    return p;
}

void operator delete(void *p) noexcept {
    if (!p) return;
    live--;
    live_bytes -= malloc_usable_size(p);
    std::free(p);
}

void operator delete(void *p, std::size_t) noexcept { operator delete(p); }

#include <map>
#include <string>
#include <vector>

int main() {
    std::map<int, std::string> names;
    std::vector<std::vector<int>> rows;
    for (int i = 0; i < 20000; i++) names[i] = std::string(10 + i % 300, 'x');
    for (int i = 0; i < 20000; i += 3) names.erase(i);
    for (int i = 0; i < 500; i++) rows.emplace_back(i * 7 % 900 + 1);
    char line[64];
    int length = std::snprintf(line, sizeof line, "live=%zu live_bytes=%zu\n", live, live_bytes);
    if (write(1, line, length) < 0) return 5;
    return read(0, line, 1) < 0;
}
