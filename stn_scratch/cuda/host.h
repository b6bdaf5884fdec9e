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
    long long x;
} blockIdx;
static thread_local struct {
    int x;
} threadIdx, blockDim;
static thread_local int lane;  // which of the threads that run side by side

// The empty statement keeps the loop around it out of vectors, in which two sums in one place would lose a share.
template <typename T, typename S>
__device__ void atomicAdd(T* sum, S share) {
    asm volatile("" ::: "memory");
    *sum += share;
}

// No thread is started that has nothing to do, but by tests, which start whole blocks as a GPU does.
template <typename I>
__device__ bool is_idle(I t, I count) {
#ifdef WHOLE_BLOCKS
    return t >= count;
#else
    return false;
#endif
}

__device__ long long quotient(long long t, long long n) { return t / n; }

// The product is exact: it is off by less than 2^-20 / n, and (t + 1/2) / n is 1 / 2n or more from a whole number.
__device__ int quotient(int t, int n) { return n == 1 ? t : (int)(((double)t + 0.5) * (1.0 / n)); }

// So few channels, and a number that the compiler knows, are not worth a loop: there the threads run in vectors.
enum { MOST_FEW = 4 };
#define FEW(n) (__builtin_constant_p(n) && n <= MOST_FEW)

template <typename T, typename I>
__device__ void corner_dots(const T* a, const T* b, const I corners[2][2], I n, T sums[2][2]) {
    if (FEW(n)) {
        for (int j = 0; j < 2; j++)
            for (int k = 0; k < 2; k++) {
                T sum = 0;
                for (I c = 0; c < n; c++) sum += a[c] * b[corners[j][k] + c];
                sums[j][k] = sum;
            }
        return;
    }
    // one loop for all, and a variable for each: sums in an array the compiler does not keep in vectors
    const T *b00 = b + corners[0][0], *b01 = b + corners[0][1], *b10 = b + corners[1][0], *b11 = b + corners[1][1];
    T sum00 = 0, sum01 = 0, sum10 = 0, sum11 = 0;
#pragma omp simd reduction(+ : sum00, sum01, sum10, sum11)
    for (I c = 0; c < n; c++)
        sum00 += a[c] * b00[c], sum01 += a[c] * b01[c], sum10 += a[c] * b10[c], sum11 += a[c] * b11[c];
    sums[0][0] = sum00, sums[0][1] = sum01, sums[1][0] = sum10, sums[1][1] = sum11;
}

enum { LANES = 64, SLOTS = 4 * MOST_FEW };  // four taps

// The shares of the threads that run side by side, until all have run: a slot for each share that one thread adds.
template <typename T>
struct Shares {
    int slots;
    T share[SLOTS][LANES];
    T* sum[SLOTS][LANES];
};

template <typename T>
static thread_local Shares<T> kept;

template <typename T, typename I>
__device__ void add_shares(T* sums, T weight, const T* shares, I n) {
    if (FEW(n)) {
        for (I c = 0; c < n; c++, kept<T>.slots++) {
            kept<T>.sum[kept<T>.slots][lane] = sums + c;
            kept<T>.share[kept<T>.slots][lane] = weight * shares[c];
        }
        return;
    }
    if (weight == 0) return;
    asm volatile("" ::: "memory");
#pragma omp simd  // the sums are not among the shares
    for (I c = 0; c < n; c++) sums[c] += weight * shares[c];
}

template <typename T>
__device__ void add_kept(int threads) {
    for (int slot = 0; slot < kept<T>.slots; slot++)
        for (int k = 0; k < threads; k++) *kept<T>.sum[slot][k] += kept<T>.share[slot][k];
}

// Run `count` threads in blocks of `size`: in the order of their numbers, side by side, or one by one as they stand in
// `order`. Side by side each must have something to do, for `kept` has the same slots for all. ivdep: the threads do not
// depend on each other.
template <typename T, typename Kernel>
__device__ void run(long long count, int size, const long long* order, Kernel kernel) {
    blockDim.x = size;
    long long block = 0;
    int first = 0;
    for (long long done = 0; done < count;) {
        if (order) block = order[done] / size, first = (int)(order[done] % size);
        const int most = order ? 1 : LANES, threads = size - first < most ? size - first : most;
        blockIdx.x = block;
#pragma GCC ivdep
        for (int k = 0; k < threads; k++) {
            threadIdx.x = first + k;
            lane = k;
            kept<T>.slots = 0;
            kernel();
        }
        add_kept<T>(threads);
        done += threads, first += threads;
        if (first == size) block++, first = 0;
    }
}
