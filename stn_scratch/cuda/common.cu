// What all kernels share. T is float or double. I is the type of an index: int, or long long where an array or the
// number of threads does not fit into 31 bits. A thread computes the few numbers that its own number t stands for; no
// thread waits for another, so the order in which they run does not matter.
template <typename I>
__device__ I thread_number() {
    return (I)blockIdx.x * (I)blockDim.x + (I)threadIdx.x;
}

// A thread of image b: its number t among the `each` threads of that image. No block has threads of two images.
template <typename I>
struct ImageThread {
    I b, t;
};

template <typename I>
__device__ ImageThread<I> image_thread(I each) {
    I size = (I)blockDim.x, blocks = (each + size - 1) / size, b = (I)blockIdx.x / blocks;
    I t = ((I)blockIdx.x - b * blocks) * size + (I)threadIdx.x;
    return {b, t};
}

#ifndef HOST  // a CPU has its own form of these, in host.h
// Blocks are whole: the last threads of the last one, or of an image's last one, have nothing to do.
template <typename I>
__device__ bool is_idle(I t, I count) {
    return t >= count;
}

// t / n, rounded down, for t >= 0.
template <typename I>
__device__ I quotient(I t, I n) {
    return t / n;
}

// sums_c += weight shares_c, for n channels c. Other threads may add to the same sums.
template <typename T, typename I>
__device__ void add_shares(T* sums, T weight, const T* shares, I n) {
    if (weight == 0) return;
    for (I c = 0; c < n; c++) atomicAdd(sums + c, weight * shares[c]);
}

// sum_c a_c b_(corner + c) over n channels c, for the four corners of a cell.
template <typename T, typename I>
__device__ void corner_dots(const T* a, const T* b, const I corners[2][2], I n, T sums[2][2]) {
    for (int j = 0; j < 2; j++)
        for (int k = 0; k < 2; k++) {
            T sum = 0;
            for (I c = 0; c < n; c++) sum += a[c] * b[corners[j][k] + c];
            sums[j][k] = sum;
        }
}
#endif
