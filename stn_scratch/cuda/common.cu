// What all kernels share. T is float or double. I is the type of an index: int, or long long where an array or the
// number of threads does not fit into 31 bits. A thread computes the few numbers that its own number t stands for; no
// thread waits for another, so the order in which they run does not matter.
template <typename I>
__device__ I thread_number() {
    return (I)blockIdx.x * (I)blockDim.x + (I)threadIdx.x;
}

