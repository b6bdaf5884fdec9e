// One step of SGD with momentum. The pair is optimiser.py.

// v <- mu v + scale g, then p <- p - rate v; scale is the factor of the clipped gradient, one number on the device.
template <typename T, typename I>
__global__ void sgd_update(T* p, T* v, const T* g, const T* scale, I count, T momentum, T rate) {
    I t = thread_number<I>();
    if (is_idle(t, count)) return;
    T velocity = momentum * v[t] + g[t] * *scale;
    v[t] = velocity;
    p[t] -= rate * velocity;
}
