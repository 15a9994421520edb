// containers: a vector that grows, a map of strings, and where their memory
// comes from. operator new and delete are Heapwise's, like malloc and free.
#include <cstdio>
#include <heapwise.h>
#include <map>
#include <string>
#include <vector>

int main()
{
    std::vector<int> numbers;
    const int *at = nullptr;
    for (int i = 0; i < 1000; i++) {
        numbers.push_back(i);
        if (numbers.data() != at) {
            at = numbers.data();
            std::printf("vector of %4zu, room for %4zu, at %p\n", numbers.size(),
                        numbers.capacity(), static_cast<const void *>(at));
        }
    }
    std::map<std::string, std::vector<std::string>> words;
    for (int i = 0; i < 10000; i++)
        words["a key long enough for the heap " + std::to_string(i % 100)].push_back(
            std::string(i % 60, 'x'));
    std::printf("%zu bytes in use\n", static_cast<std::size_t>(mallinfo2().uordblks));
    words.clear();
    std::printf("%zu bytes after clear\n", static_cast<std::size_t>(mallinfo2().uordblks));
}
