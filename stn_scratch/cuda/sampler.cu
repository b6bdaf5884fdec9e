// The sampler. The pair is sampling/sampler.py, with padding.py; of its kernels, "integer" and "bilinear" are here.
// The source points come from a grid (B, 2, H', W'), or from theta (B, 2, 3) by Eq. (1), with no grid in memory.
// A thread works on one output pixel, and there on `width` channels: `groups` threads share a pixel. Nothing branches
// on where a sample lies: a tap that does not exist has weight and slope 0, and its index is moved into the image.
// Arrays are addressed from where image b begins in them, by the thread's own number: threads next to each other read
// and write next to each other, and a compiler for a CPU can see it.
enum { ZEROS, BORDER, REFLECT };

template <typename T, typename I>
struct Sampler {
    I H, W, C, H_out, W_out, from_theta, integer, padding, align_corners;
};

template <typename T>
struct Point {
    T x, y;  // in pixels
    bool finite;
};

template <typename I>
struct Place {
    I b, i, first, last;  // image, output pixel in it, channels first..last-1
};

template <typename T, typename I>
__device__ Place<I> place_of(Sampler<T, I> s, ImageThread<I> thread, I groups, I width) {
    I i = quotient(thread.t, groups), first = (thread.t - i * groups) * width;
    return {thread.b, i, first, first + width < s.C ? first + width : s.C};
}

// coordinates.py: dx_p/dx and x -> x_p. The order of the operations decides on which side of a pixel x_p is rounded.
template <typename T, typename I>
__device__ T pixels_per_unit(I size, I align_corners) {
    return (T)(align_corners ? size - 1 : size) / 2;
}

template <typename T, typename I>
__device__ T to_pixels(T x, I size, I align_corners) {
    return x * pixels_per_unit<T>(size, align_corners) + (T)(size - 1) / 2;
}

// coordinates.py: axis_points, x_t of pixel k of the target grid.
template <typename T, typename I>
__device__ T axis_point(I k, I size, I align_corners) {
    I span = align_corners ? size - 1 : size;
    return (T)(2 * k - (size - 1)) / (T)(span > 1 ? span : 1);
}

template <typename T, typename I>
__device__ Point<T> source_point(Sampler<T, I> s, const T* points, I b, I i) {
    T x_s, y_s;
    if (s.from_theta) {
        // Eq. (1): (x_s, y_s) = A_theta (x_t, y_t, 1)
        const T* theta = points + b * 6;
        // grids/usable.py: a theta that cannot be computed with puts the whole grid far away
        for (int k = 0; k < 6; k++)
            if (!(fabs(theta[k]) <= (T)1e15)) return {0, 0, false};
        I row = quotient(i, s.W_out);
        T x_t = axis_point<T>(i - row * s.W_out, s.W_out, s.align_corners);
        T y_t = axis_point<T>(row, s.H_out, s.align_corners);
        x_s = theta[0] * x_t + theta[1] * y_t + theta[2];
        y_s = theta[3] * x_t + theta[4] * y_t + theta[5];
    } else {
        I pixels = s.H_out * s.W_out;
        const T *x = points + b * 2 * pixels, *y = x + pixels;
        x_s = x[i];
        y_s = y[i];
    }
    T farthest = (T)1e30;
    bool finite = (fabs(x_s) <= farthest) & (fabs(y_s) <= farthest);  // false for NaN, too
    return {to_pixels(finite ? x_s : 0, s.W, s.align_corners), to_pixels(finite ? y_s : 0, s.H, s.align_corners),
            finite};
}

template <typename T>
struct Padded {
    T x, slope;
    int side;
};

// padding.py: mirror, then clamp.
template <typename T, typename I>
__device__ Padded<T> pad_coordinate(Sampler<T, I> s, T x, I size, int side) {
    T slope = 1, last = size - 1;
    if (s.padding == ZEROS) return {x, slope, side};
    if (s.padding == REFLECT) {
        T low = s.align_corners ? (T)0 : (T)-0.5, span = s.align_corners ? last : (T)size;
        if (span == 0) return {0, 0, side};  // one pixel, mirrored at its own centre
        T r = fmod(x - low, 2 * span);
        if (r < 0) r += 2 * span;
        bool forth = side > 0 ? r < span : r > 0 && r <= span;
        x = low + (r < 2 * span - r ? r : 2 * span - r);
        if (!forth) slope = -1, side = -side;
    }
    bool passes = side > 0 ? x >= 0 && x < last : x > 0 && x <= last;
    return {x < 0 ? 0 : x > last ? last : x, passes ? slope : 0, side};
}

template <typename T, typename I>
struct Taps {
    I index[2];  // m or n, inside the image
    T weight[2], slope[2];
};

// _taps: the two pixels of one axis at which the kernel around x may be non-zero; slopes on the given side.
template <typename T, typename I>
__device__ Taps<T, I> taps_at(Sampler<T, I> s, T x, bool finite, I size, int side) {
    Padded<T> p = pad_coordinate(s, x, size, side);
    // Eq. (4): the nearest pixel, a half rounds up. Eq. (5): the cell to the right or the left
    T cell = s.integer ? floor(p.x + (T)0.5) : p.side > 0 ? floor(p.x) : ceil(p.x) - 1;
    T a = p.x - cell;
    Taps<T, I> taps;
    // Eq. (5): the tent max(0, 1 - |x - m|). Eq. (7): its slope, -1 left of the sample and +1 right of it
    taps.weight[0] = s.integer ? 1 : 1 - a;
    taps.weight[1] = a;
    taps.slope[0] = s.integer ? 0 : -p.slope;
    taps.slope[1] = p.slope;
    for (int j = 0; j < 2; j++) {
        T m = cell + j, last = size - 1;
        bool exists = (m >= 0) & (m <= last) & finite & !(s.integer && j == 1);
        T inside = m > 0 ? m : 0;  // for a NaN, too
        taps.index[j] = (I)(inside < last ? inside : last);
        taps.weight[j] = exists ? taps.weight[j] : 0;
        taps.slope[j] = exists ? taps.slope[j] : 0;
    }
    return taps;
}

// Eq. (3): V_i^c = sum_nm U_nm^c k(x_i - m) k(y_i - n).
template <typename T, typename I>
__global__ void sample_forward(const T* U, const T* points, T* V, I each, I groups, I width, I H, I W, I C, I H_out,
                               I W_out, I from_theta, I integer, I padding, I align_corners) {
    ImageThread<I> thread = image_thread(each);
    if (is_idle(thread.t, each)) return;
    Sampler<T, I> s = {H, W, C, H_out, W_out, from_theta, integer, padding, align_corners};
    Place<I> at = place_of(s, thread, groups, width);
    Point<T> p = source_point(s, points, at.b, at.i);
    Taps<T, I> n = taps_at(s, p.y, p.finite, H, +1), m = taps_at(s, p.x, p.finite, W, +1);
    const T* U_b = U + at.b * H * W * C;
    T* V_b = V + at.b * H_out * W_out * C;
    for (I c = at.first; c < at.last; c++) {
        T sum = 0;
        for (int j = 0; j < 2; j++)
            for (int k = 0; k < 2; k++)
                sum += n.weight[j] * m.weight[k] * U_b[(n.index[j] * W + m.index[k]) * C + c];
        V_b[at.i * C + c] = sum;
    }
}

// The same for one channel, and Eq. (7) of the same four pixels: slopes (B, 2, H', W'), dV/dx_s and dV/dy_s.
template <typename T, typename I>
__global__ void sample_with_slopes(const T* U, const T* points, T* V, T* slopes, I each, I H, I W, I H_out, I W_out,
                                   I integer, I padding, I align_corners) {
    ImageThread<I> thread = image_thread(each);
    if (is_idle(thread.t, each)) return;
    Sampler<T, I> s = {H, W, 1, H_out, W_out, 0, integer, padding, align_corners};
    Point<T> p = source_point(s, points, thread.b, thread.t);
    Taps<T, I> n = taps_at(s, p.y, p.finite, H, +1), m = taps_at(s, p.x, p.finite, W, +1);
    const T* U_b = U + thread.b * H * W;
    T sum = 0, dx_p = 0, dy_p = 0;
    for (int j = 0; j < 2; j++)
        for (int k = 0; k < 2; k++) {
            T U_nm = U_b[n.index[j] * W + m.index[k]];
            sum += n.weight[j] * m.weight[k] * U_nm;
            dx_p += U_nm * m.slope[k] * n.weight[j];
            dy_p += U_nm * m.weight[k] * n.slope[j];
        }
    T *V_b = V + thread.b * each, *dx = slopes + thread.b * 2 * each, *dy = dx + each;
    V_b[thread.t] = sum;
    dx[thread.t] = dx_p * pixels_per_unit<T>(W, align_corners);
    dy[thread.t] = dy_p * pixels_per_unit<T>(H, align_corners);
}

// Eq. (7), summed over the channels of a place: d/dx_s and d/dy_s.
template <typename T, typename I>
__device__ Point<T> slopes_at(Sampler<T, I> s, const T* dV, const T* U, const T* points, Place<I> at, I central) {
    Point<T> p = source_point(s, points, at.b, at.i);
    T dx_p = 0, dy_p = 0;
    const T* U_b = U + at.b * s.H * s.W * s.C;
    const T* dV_i = dV + at.b * s.H_out * s.W_out * s.C + at.i * s.C;
    for (int side = 1; side >= (central ? -1 : 1); side -= 2) {
        Taps<T, I> n = taps_at(s, p.y, p.finite, s.H, side), m = taps_at(s, p.x, p.finite, s.W, side);
        I nm[2][2];
        for (int j = 0; j < 2; j++)
            for (int k = 0; k < 2; k++) nm[j][k] = (n.index[j] * s.W + m.index[k]) * s.C + at.first;
        T dV_U[2][2];  // sum_c dV U_nm: the factor that both slopes share
        corner_dots(dV_i + at.first, U_b, nm, at.last - at.first, dV_U);
        for (int j = 0; j < 2; j++)
            for (int k = 0; k < 2; k++) {
                // Eq. (7): dV/dx = U_nm k'(x - m) k(y - n), and the same for y
                dx_p += dV_U[j][k] * m.slope[k] * n.weight[j];
                dy_p += dV_U[j][k] * m.weight[k] * n.slope[j];
            }
    }
    // the chain rule from pixels to normalised coordinates, and the mean over the sides
    T sides = central ? 2 : 1;
    return {dx_p * (pixels_per_unit<T>(s.W, s.align_corners) / sides),
            dy_p * (pixels_per_unit<T>(s.H, s.align_corners) / sides), true};
}

// Eq. (7) for each output pixel and group of channels: parts (B, 2, H', W', groups). Their sum over groups is dgrid.
template <typename T, typename I>
__global__ void sample_dgrid(const T* dV, const T* U, const T* points, T* parts, I each, I groups, I width, I central,
                             I H, I W, I C, I H_out, I W_out, I from_theta, I integer, I padding, I align_corners) {
    ImageThread<I> thread = image_thread(each);
    if (is_idle(thread.t, each)) return;
    Sampler<T, I> s = {H, W, C, H_out, W_out, from_theta, integer, padding, align_corners};
    Place<I> at = place_of(s, thread, groups, width);
    Point<T> d = slopes_at(s, dV, U, points, at, central);
    T *dx = parts + at.b * 2 * each, *dy = dx + each;
    dx[thread.t] = d.x;
    dy[thread.t] = d.y;
}

// dL/dA_theta = sum_i dL/d(x_s, y_s)_i (x_t, y_t, 1)_i (grids/affine.py). A thread sums every strands-th pixel of an
// image: parts (B, strands, groups, 2, 3), whose sum over strands and groups is dtheta.
template <typename T, typename I>
__global__ void affine_dtheta(const T* dV, const T* U, const T* theta, T* parts, I each, I strands, I groups, I width,
                              I central, I H, I W, I C, I H_out, I W_out, I integer, I padding, I align_corners) {
    ImageThread<I> thread = image_thread(each);
    if (is_idle(thread.t, each)) return;
    Sampler<T, I> s = {H, W, C, H_out, W_out, 1, integer, padding, align_corners};
    I group = thread.t % groups, strand = thread.t / groups;
    I first = group * width, last = first + width < C ? first + width : C;
    T dtheta[6] = {0, 0, 0, 0, 0, 0};
    for (I i = strand; i < H_out * W_out; i += strands) {
        Point<T> d = slopes_at(s, dV, U, theta, {thread.b, i, first, last}, central);
        T x_t = axis_point<T>(i % W_out, W_out, align_corners), y_t = axis_point<T>(i / W_out, H_out, align_corners);
        dtheta[0] += d.x * x_t, dtheta[1] += d.x * y_t, dtheta[2] += d.x;
        dtheta[3] += d.y * x_t, dtheta[4] += d.y * y_t, dtheta[5] += d.y;
    }
    for (int k = 0; k < 6; k++) parts[(thread.b * each + thread.t) * 6 + k] = dtheta[k];
}

// A sum in fixed point: each share is rounded once, to a whole multiple of 2^-shift, and whole numbers add up to the
// same in any order. |dV| < 2^exponent, and at most 2^bits shares meet in one pixel: the sum stays below 2^62.
template <typename T>
__device__ int shift_of(T largest, int bits) {
    int exponent;
    frexp((double)largest, &exponent);
    return 62 - bits - exponent;
}

template <typename T, typename I>
__device__ void add_channels(T* sums, T weight, const T* dV, I n, int) {
    add_shares(sums, weight, dV, n);
}

template <typename T, typename I>
__device__ void add_channels(long long* sums, T weight, const T* dV, I n, int shift) {
    if (weight == 0) return;
    for (I c = 0; c < n; c++)
        atomicAdd((unsigned long long*)sums + c, (unsigned long long)llrint(ldexp((double)(weight * dV[c]), shift)));
}

// Eq. (6): dU_nm^c = sum_i dV_i^c k(x_i - m) k(y_i - n), the shares of one thread.
template <typename T, typename I, typename Sum>
__device__ void scatter(Sampler<T, I> s, const T* dV, const T* points, Sum* dU, Place<I> at, int shift) {
    Point<T> p = source_point(s, points, at.b, at.i);
    Taps<T, I> n = taps_at(s, p.y, p.finite, s.H, +1), m = taps_at(s, p.x, p.finite, s.W, +1);
    Sum* dU_b = dU + at.b * s.H * s.W * s.C;
    const T* dV_i = dV + at.b * s.H_out * s.W_out * s.C + at.i * s.C;
    for (int j = 0; j < 2; j++)
        for (int k = 0; k < 2; k++) {
            Sum* dU_nm = dU_b + (n.index[j] * s.W + m.index[k]) * s.C;
            add_channels(dU_nm + at.first, n.weight[j] * m.weight[k], dV_i + at.first, at.last - at.first, shift);
        }
}

// The shares meet in the order in which the threads come: the last bits of dU vary from run to run.
template <typename T, typename I>
__global__ void sample_dU(const T* dV, const T* points, T* dU, I each, I groups, I width, I H, I W, I C, I H_out,
                          I W_out, I from_theta, I integer, I padding, I align_corners) {
    ImageThread<I> thread = image_thread(each);
    if (is_idle(thread.t, each)) return;
    Sampler<T, I> s = {H, W, C, H_out, W_out, from_theta, integer, padding, align_corners};
    scatter(s, dV, points, dU, place_of(s, thread, groups, width), 0);
}

// The same sum in fixed point, the same to the last bit in every run. largest: max |dV|.
template <typename T, typename I>
__global__ void sample_dU_fixed(const T* dV, const T* points, const T* largest, long long* sums, I each, I bits,
                                I groups, I width, I H, I W, I C, I H_out, I W_out, I from_theta, I integer, I padding,
                                I align_corners) {
    ImageThread<I> thread = image_thread(each);
    if (is_idle(thread.t, each) || !isfinite(*largest)) return;
    Sampler<T, I> s = {H, W, C, H_out, W_out, from_theta, integer, padding, align_corners};
    scatter(s, dV, points, sums, place_of(s, thread, groups, width), shift_of(*largest, (int)bits));
}

// Back from fixed point. A dV that is not finite somewhere makes all of dU NaN: fixed point has no NaN of its own.
template <typename T, typename I>
__global__ void from_fixed(const T* largest, const long long* sums, T* dU, I count, I bits) {
    I t = thread_number<I>();
    if (is_idle(t, count)) return;
    dU[t] = isfinite(*largest) ? (T)ldexp((double)sums[t], -shift_of(*largest, (int)bits)) : *largest - *largest;
}
