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
    std::vector<std::string> large;
    for (int i = 0; i < 4000; i++) large.push_back(std::string(1000 + i % 500, 'y'));
    for (int i = 0; i < 4000; i++)
        if (i % 50) std::string().swap(large[i]);
    char line[64];
    int length = std::snprintf(line, sizeof line, "live=%zu live_bytes=%zu\n", live, live_bytes);
    if (write(1, line, length) < 0) return 5;
    // Whatever is typed asks for a trim.
    while (read(0, line, sizeof line) > 0) {
        malloc_trim(0);
        if (write(1, "trimmed=1\n", 10) < 0) return 5;
    }
}
