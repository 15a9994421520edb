/* operator new and delete in all forms: plain, array, nothrow, aligned, sized,
 * and all of these together; alignment, failure, and mixing with free.
 */
#include "check.h"
#include <initializer_list>
#include <new>

template <class F> static bool throws(F f)
{
    try {
        f();
    } catch (const std::bad_alloc &) {
        return true;
    }
    return false;
}

int main()
{
    using std::align_val_t;
    volatile size_t huge = PTRDIFF_MAX, impossible = SIZE_MAX - 100;

    for (size_t n = 0; n < 300000; n = n * 3 + 1) {
        ::operator delete(::operator new(n));
        ::operator delete(::operator new(n), n);
        ::operator delete(::operator new(n, std::nothrow), std::nothrow);
        ::operator delete[](::operator new[](n));
        ::operator delete[](::operator new[](n), n);
        ::operator delete[](::operator new[](n, std::nothrow), std::nothrow);
        for (size_t a = 1; a <= 1 << 16; a *= 2) {
            align_val_t align{a};
            void *p = ::operator new(n, align);
            CHECK(p && (uintptr_t)p % a == 0);
            memset(p, 1, n);
            ::operator delete(p, align);
            p = ::operator new[](n, align);
            CHECK(p && (uintptr_t)p % a == 0);
            ::operator delete[](p, n, align);
            p = ::operator new(n, align, std::nothrow);
            CHECK(p && (uintptr_t)p % a == 0);
            ::operator delete(p, align, std::nothrow);
            p = ::operator new[](n, align, std::nothrow);
            CHECK(p && (uintptr_t)p % a == 0);
            ::operator delete[](p, align, std::nothrow);
            ::operator delete(::operator new(n, align), n, align);
        }
    }
    void *a = ::operator new(0), *b = ::operator new(0);
    CHECK(a && b && a != b);
    ::operator delete(a);
    ::operator delete(b);
    ::operator delete(nullptr);
    ::operator delete[](nullptr, 10);
    ::operator delete(nullptr, align_val_t{64});

    for (size_t n : {(size_t)huge, (size_t)impossible}) {
        CHECK(throws([&] { ::operator new(n); }));
        CHECK(throws([&] { ::operator new[](n); }));
        CHECK(throws([&] { ::operator new(n, align_val_t{64}); }));
        /* libstdc++ rounds up to the alignment first, and round to 0. */
        CHECK(throws([&] { ::operator new[](n, align_val_t{4096}); }) || !on_heapwise());
        CHECK(::operator new(n, std::nothrow) == nullptr);
        CHECK(::operator new[](n, std::nothrow) == nullptr);
        CHECK(::operator new(n, align_val_t{64}, std::nothrow) == nullptr);
        CHECK(::operator new[](n, align_val_t{64}, std::nothrow) == nullptr);
    }
    CHECK(throws([&] { (void)new char[huge]; }));
    CHECK(throws([&] { size_t n = huge / 4; (void)new double[n]; }));

    /* malloc and new share one heap: mixing them is no mistake here. */
    ::operator delete(malloc(100));
    free(::operator new(100));
    ::operator delete[](::operator new(100));

    struct alignas(256) Wide { char c[300]; };
    Wide *w = new Wide[3];
    CHECK((uintptr_t)w % 256 == 0);
    delete[] w;
    return 0;
}
