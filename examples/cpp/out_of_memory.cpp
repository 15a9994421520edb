// out_of_memory: what operator new does when there is nothing left: it calls
// the new-handler again and again, and throws when there is none.
#include <cstdio>
#include <cstdlib>
#include <new>
#include <sys/resource.h>
#include <vector>

static void *reserve;

static void give_up_the_reserve()
{
    std::puts("the new-handler frees its reserve");
    std::free(reserve);
    std::set_new_handler(nullptr);
}

int main()
{
    reserve = std::malloc(16 << 20);
    std::set_new_handler(give_up_the_reserve);
    rlimit limit;
    getrlimit(RLIMIT_AS, &limit);
    limit.rlim_cur = 256 << 20;
    setrlimit(RLIMIT_AS, &limit);

    std::vector<char *> blocks;
    blocks.reserve(1000);
    try {
        for (;;)
            blocks.push_back(new char[1 << 20]);
    } catch (const std::bad_alloc &) {
        std::printf("std::bad_alloc after %zu MiB\n", blocks.size());
    }
    for (char *block : blocks)
        delete[] block;
    delete[] new char[32 << 20];
    std::puts("and after freeing, 32 MiB at once");
}
