/* The new-handler is called until memory is there, until it throws, or until
 * there is no handler any more.
 */
#include "check.h"
#include <new>

static int calls;
static size_t wanted = PTRDIFF_MAX;

static void give_up() { CHECK(++calls <= 3); if (calls == 3) std::set_new_handler(nullptr); }
struct Mine {};
static void throw_mine() { calls++; throw Mine(); }
static void *reserve;
static void release() { calls++; free(reserve); reserve = nullptr; std::set_new_handler(nullptr); }

int main()
{
    volatile size_t huge = wanted;
    std::set_new_handler(give_up);
    bool thrown = false;
    try {
        ::operator new(huge);
    } catch (const std::bad_alloc &) {
        thrown = true;
    }
    CHECK(thrown);
    CHECK(calls == 3);

    calls = 0;
    std::set_new_handler(throw_mine);
    thrown = false;
    try {
        ::operator new[](huge, std::align_val_t{64});
    } catch (Mine) {
        thrown = true;
    }
    CHECK(thrown);
    CHECK(calls == 1);

    calls = 0; /* nothrow calls the handler too */
    std::set_new_handler(give_up);
    CHECK(::operator new(huge, std::nothrow) == nullptr);
    CHECK(calls == 3);

    reserve = malloc(1000);
    calls = 0;
    std::set_new_handler(release);
    CHECK(::operator new(huge, std::nothrow) == nullptr);
    CHECK(calls == 1 && reserve == nullptr);
    return 0;
}
