// Softmax and cross-entropy. The pair is layers/loss.py.

// p_bk = e^z_bk / sum_j e^z_bj and loss_b = -log p_b,label. One thread for each row b.
template <typename T, typename I>
__global__ void softmax_cross_entropy_forward(const T* z, const long long* labels, T* p, T* loss, I count, I classes) {
    I b = thread_number<I>();
    if (is_idle(b, count)) return;
    const T* z_b = z + b * classes;
    T* p_b = p + b * classes;
    // the largest logit is subtracted first: e^z overflows, the quotient does not change
    T largest = z_b[0], total = 0;
    for (I k = 1; k < classes; k++) largest = z_b[k] > largest || z_b[k] != z_b[k] ? z_b[k] : largest;
    for (I k = 0; k < classes; k++) total += p_b[k] = exp(z_b[k] - largest);
    for (I k = 0; k < classes; k++) p_b[k] /= total;
    // a label that is no class has no loss: NaN, which stops a training run, where an index would read foreign memory
    long long label = labels[b];
    T z_label = label >= 0 && label < classes ? z_b[label] - largest : (T)nan("");
    loss[b] = log(total) - z_label;
}

// dz_bk = dL/B (p_bk - [k = label_b]). One thread for each number.
template <typename T, typename I>
__global__ void softmax_cross_entropy_backward(const T* p, const long long* labels, const T* dloss, T* dz, I count,
                                               I classes) {
    I t = thread_number<I>();
    if (is_idle(t, count)) return;
    I b = t / classes, k = t % classes, B = count / classes;
    dz[t] = (p[t] - (T)(k == labels[b])) * (*dloss / (T)B);
}
