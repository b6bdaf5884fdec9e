// A CUDA text for the host's C++ compiler: what the kernels use of CUDA, as plain C++. A launch runs in one thread of
// the CPU, its threads one after the other, in the order of their numbers or in one that the caller wants; so an atomic
// sum is a plain one. There is no shared memory and no barrier.
//
// It is shaped for compilers that run a loop in vectors, many threads of a kernel at once: every function becomes a part
// of the loop over the threads, and what stands in the way of vectors (the division of an index, sums that may meet in
// one place) has another form here.
#include <cmath>

#define HOST
#define __device__ static inline __attribute__((always_inline))
#define __global__ __device__

using std::ceil, std::exp, std::fabs, std::floor, std::fmod, std::frexp, std::isfinite, std::ldexp, std::llrint,
    std::log, std::nan;

static thread_local struct {
    int x;
} blockIdx, threadIdx, blockDim;

// The empty statement keeps the loop around it out of vectors, in which two sums in one place would lose a share.
template <typename T, typename S>
__device__ void atomicAdd(T* sum, S share) {
    asm volatile("" ::: "memory");
    *sum += share;
}

__device__ long long quotient(long long t, long long n) { return t / n; }

// The product is exact: it is off by less than 2^-20 / n, and (t + 1/2) / n is 1 / 2n or more from a whole number.
__device__ int quotient(int t, int n) { return n == 1 ? t : (int)(((double)t + 0.5) * (1.0 / n)); }

// So few channels, and a number that the compiler knows, are not worth a loop: there the threads run in vectors.
#define FEW(n) (__builtin_constant_p(n) && n < 4)

template <typename T, typename I>
__device__ T dot(const T* a, const T* b, I n) {
    T sum = 0;
    if (FEW(n)) {
        for (I c = 0; c < n; c++) sum += a[c] * b[c];
        return sum;
    }
#pragma omp simd reduction(+ : sum)
    for (I c = 0; c < n; c++) sum += a[c] * b[c];
    return sum;
}

enum { BLOCK = 64, SLOTS = 16 };

// The shares of the threads of a block, until the block has ended: a slot for each share that one thread adds.
template <typename T>
struct Shares {
    int slots;
    T share[SLOTS][BLOCK];
    T* sum[SLOTS][BLOCK];
};

template <typename T>
static thread_local Shares<T> kept;

template <typename T, typename I>
__device__ void add_shares(T* sums, T weight, const T* shares, I n) {
    if (FEW(n)) {
        for (I c = 0; c < n; c++, kept<T>.slots++) {
            kept<T>.sum[kept<T>.slots][threadIdx.x] = sums + c;
            kept<T>.share[kept<T>.slots][threadIdx.x] = weight * shares[c];
        }
        return;
    }
    if (weight == 0) return;
    asm volatile("" ::: "memory");
    for (I c = 0; c < n; c++) sums[c] += weight * shares[c];
}

template <typename T>
__device__ void add_kept(int threads) {
    for (int slot = 0; slot < kept<T>.slots; slot++)
        for (int k = 0; k < threads; k++) *kept<T>.sum[slot][k] += kept<T>.share[slot][k];
}

// Run threads 0..count-1, or the count threads that stand in `order`. Without an order every thread must have something
// to do, for `kept` has the same slots for all. ivdep: the threads do not depend on each other.
template <typename T, typename Kernel>
__device__ void run(long long count, const long long* order, Kernel kernel) {
    const int block = order ? 1 : BLOCK;
    blockDim.x = block;
    for (long long first = 0; first < count; first += block) {
        int threads = (int)(count - first < block ? count - first : block);
        blockIdx.x = (int)((order ? order[first] : first) / block);
#pragma GCC ivdep
        for (int k = 0; k < threads; k++) {
            threadIdx.x = k;
            kept<T>.slots = 0;
            kernel();
        }
        add_kept<T>(threads);
    }
}
