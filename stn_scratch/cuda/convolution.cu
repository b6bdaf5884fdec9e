// im2col and its transpose. The pair is layers/im2col.py.

// columns[b, h, w, i, j, c] = x[b, h s + i - p, w s + j - p, c], and 0 outside the image.
template <typename T, typename I>
__global__ void im2col(const T* x, T* columns, I count, I H, I W, I C, I H_y, I W_y, I kh, I kw, I stride, I padding) {
    I t = thread_number<I>();
    if (is_idle(t, count)) return;
    // j and c run on together in x as in columns: a row of the window is one piece of a row of x
    I jc = t % (kw * C), row = t / (kw * C);
    I i = row % kh, w = row / kh % W_y, h = row / kh / W_y % H_y, b = row / kh / W_y / H_y;
    I y = h * stride + i - padding, xc = (w * stride - padding) * C + jc;
    bool inside = y >= 0 && y < H && xc >= 0 && xc < W * C;
    columns[t] = inside ? x[(b * H + y) * W * C + xc] : 0;
}

// dx[b, y, x, c] = the sum of dcolumns[b, h, w, i, j, c] over all windows (h, w) and taps (i, j) that read this pixel:
// h s + i - p = y and w s + j - p = x. It gathers, so nothing has to be atomic.
template <typename T, typename I>
__global__ void col2im(const T* dcolumns, T* dx, I count, I H, I W, I C, I H_y, I W_y, I kh, I kw, I stride,
                       I padding) {
    I t = thread_number<I>();
    if (is_idle(t, count)) return;
    I c = t % C, x = t / C % W, y = t / C / W % H, b = t / C / W / H;
    T sum = 0;
    for (I i = 0; i < kh; i++) {
        I hs = y + padding - i, h = hs / stride;
        if (hs < 0 || h * stride != hs || h >= H_y) continue;
        for (I j = 0; j < kw; j++) {
            I ws = x + padding - j, w = ws / stride;
            if (ws < 0 || w * stride != ws || w >= W_y) continue;
            sum += dcolumns[((((b * H_y + h) * W_y + w) * kh + i) * kw + j) * C + c];
        }
    }
    dx[t] = sum;
}
