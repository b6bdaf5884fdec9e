// Bias and ReLU in one pass. The pair is relu_forward and relu_backward in layers/dense.py.

// y = max(x + b, 0), b one number for each of the F channels of the last axis; F = 0: no bias.
template <typename T, typename I>
__global__ void bias_relu_forward(const T* x, const T* b, T* y, I count, I F) {
    I t = thread_number<I>();
    if (is_idle(t, count)) return;
    T sum = F ? x[t] + b[t % F] : x[t];
    y[t] = sum > 0 || sum != sum ? sum : 0;  // a NaN stays
}

// dx = dy where y > 0, else 0; at the kink it is 0, the left-hand slope.
template <typename T, typename I>
__global__ void relu_backward(const T* dy, const T* y, T* dx, I count) {
    I t = thread_number<I>();
    if (is_idle(t, count)) return;
    dx[t] = dy[t] * (T)(y[t] > 0);
}
