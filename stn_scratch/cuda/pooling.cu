// Max-pooling. The pair is layers/pooling.py.

// y[b, h, w, c] = max of the window's pixels that exist; winner is its tap, the first where several are equal.
template <typename T, typename I>
__global__ void max_pool_forward(const T* x, T* y, unsigned char* winner, I count, I H, I W, I C, I H_y, I W_y,
                                 I size) {
    I t = thread_number<I>();
    if (is_idle(t, count)) return;
    I c = t % C, w = t / C % W_y, h = t / C / W_y % H_y, b = t / C / W_y / H_y;
    T best = 0;
    int best_tap = 0;
    for (I i = 0; i < size && h * size + i < H; i++)
        for (I j = 0; j < size && w * size + j < W; j++) {
            T value = x[((b * H + h * size + i) * W + w * size + j) * C + c];
            bool first = i == 0 && j == 0;
            if (value > best && !first) best_tap = (int)(i * size + j);
            if (first || value > best || value != value) best = value;  // a NaN stays
        }
    y[t] = best;
    winner[t] = (unsigned char)best_tap;
}

// dx: the gradient goes to the pixel that was the maximum. One thread for each pixel of x, which lies in one window.
template <typename T, typename I>
__global__ void max_pool_backward(const T* dy, const unsigned char* winner, T* dx, I count, I H, I W, I C, I H_y,
                                  I W_y, I size) {
    I t = thread_number<I>();
    if (is_idle(t, count)) return;
    I c = t % C, x = t / C % W, y = t / C / W % H, b = t / C / W / H;
    I h = y / size, w = x / size, tap = y % size * size + x % size;
    if (h >= H_y || w >= W_y) {  // floor dropped this window
        dx[t] = 0;
        return;
    }
    I window = ((b * H_y + h) * W_y + w) * C + c;
    dx[t] = dy[window] * (T)(winner[window] == tap);
}
