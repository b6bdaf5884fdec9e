// A CUDA text for the host's C++ compiler: what the kernels use of CUDA, as plain C++. Threads run one after the other,
// in whatever order the caller wants, so an atomic sum is a plain one. There is no shared memory and no barrier.
#include <cmath>
#include <cstddef>
#include <type_traits>
#include <utility>

#define __global__ static
#define __device__

using std::ceil, std::exp, std::fabs, std::floor, std::fmod, std::frexp, std::isfinite, std::ldexp, std::llrint,
    std::log, std::nan;

struct {
    unsigned x;
} blockIdx, threadIdx, blockDim, gridDim;

template <typename T>
void atomicAdd(T* sum, T share) {
    *sum += share;
}

// One letter for each parameter of a kernel: lower case for a pointer, upper case for a value, as NumPy names dtypes.
template <typename P>
constexpr char letter() {
    using V = std::remove_const_t<std::remove_pointer_t<P>>;
    constexpr char c = std::is_same_v<V, float>           ? 'f'
                       : std::is_same_v<V, double>        ? 'd'
                       : std::is_same_v<V, int>           ? 'i'
                       : std::is_same_v<V, long long>     ? 'q'
                       : std::is_same_v<V, unsigned char> ? 'b'
                                                          : '?';
    return std::is_pointer_v<P> ? c : (char)(c - 'a' + 'A');
}

template <typename... P>
void describe(void (*)(P...), char* letters) {
    ((*letters++ = letter<P>()), ...);
}

// Run all threads; order: their numbers. Like a driver, it is handed a pointer to each argument.
template <typename... P, std::size_t... k>
void run(void (*kernel)(P...), void** arguments, std::index_sequence<k...>) {
    kernel(*(P*)arguments[k]...);
}

template <typename... P>
void launch(void (*kernel)(P...), unsigned grid, unsigned block, const long long* order, void** arguments) {
    gridDim.x = grid;
    blockDim.x = block;
    for (long long n = 0; n < (long long)grid * block; n++) {
        blockIdx.x = (unsigned)(order[n] / block);
        threadIdx.x = (unsigned)(order[n] % block);
        run(kernel, arguments, std::index_sequence_for<P...>());
    }
}
