/* thread_local objects are built and destroyed with their threads; their
 * destructors allocate, free, and free what other threads have allocated.
 */
#include "check.h"
#include <atomic>
#include <string>
#include <thread>
#include <vector>

static std::atomic<int> built, destroyed;
static std::atomic<std::string *> parcel;

struct Local {
    std::vector<std::string> lines;
    Local() { built++; }
    ~Local()
    {
        std::vector<std::string> copy(lines);
        delete parcel.exchange(new std::string(copy.at(7)));
        destroyed++;
    }
};
static thread_local Local local;

static void work(int seed)
{
    for (int i = 0; i < 100; i++)
        local.lines.push_back(std::string(i * seed % 700, 'a' + i % 26));
}

int main()
{
    for (int round = 0; round < 50; round++) {
        std::vector<std::thread> threads;
        for (int i = 0; i < 6; i++)
            threads.emplace_back(work, round * 6 + i + 1);
        for (auto &t : threads)
            t.join();
    }
    work(5);
    CHECK(built == 301);
    CHECK(destroyed == 300);
    return 0;
}
