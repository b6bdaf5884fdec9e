// One step of SGD with momentum. The pair is optimiser.py.

// v <- mu v + scale g + lambda p, then p <- p - rate v; scale is the factor of the clipped gradient, one number on the
// device, and lambda the weight decay.
template <typename T, typename I>
__global__ void sgd_update(T* p, T* v, const T* g, const T* scale, I count, T momentum, T weight_decay, T rate) {
    I t = thread_number<I>();
    if (is_idle(t, count)) return;
    T velocity = momentum * v[t] + g[t] * *scale + weight_decay * p[t];
    v[t] = velocity;
    p[t] -= rate * velocity;
}
