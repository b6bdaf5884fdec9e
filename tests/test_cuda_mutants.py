"""Mistakes in the CUDA texts, each of which a check must see. They run on the host, behind the shim."""

import re

import checks_of_cuda
import cuda_shim
import pytest
import test_cuda_sampler
from cuda_shim import HostCuda, as_on_a_cpu, on

from stn_scratch.cuda import host, launch


def sampler(where="generic", padding="zeros", align_corners=True):
    return lambda xp: checks_of_cuda.sampler(xp, where, padding, align_corners)


def slopes(xp):
    with as_on_a_cpu():
        checks_of_cuda.sampler(xp)


def affine(where="generic", padding="zeros", align_corners=True):
    return lambda xp: checks_of_cuda.affine_sampler(xp, where, padding, align_corners)


def one_pixel_in_fixed_point(xp):
    test_cuda_sampler.test_fixed_point_holds_every_sum(xp, -1.9375, "float32")


MUTANTS = [
    # file, the right text, the mistake, a check that sees it
    ("sampler.cu", "x_s = x[i];", "x_s = y[i];", sampler()),
    ("sampler.cu", "((I)blockIdx.x - b * blocks) * size", "(I)blockIdx.x * size", sampler()),
    ("sampler.cu", "*dy = dx + each", "*dy = dx + H_out * W_out", sampler()),
    ("sampler.cu", "to_pixels(finite ? x_s : 0, s.W,", "to_pixels(finite ? x_s : 0, s.H,", sampler()),
    ("sampler.cu", "return (T)(align_corners ? size - 1 : size) / 2;", "return (T)size / 2;", sampler()),
    ("sampler.cu", "(fabs(x_s) <= farthest) & ", "", sampler("odd", "border")),
    ("sampler.cu", "(T)(2 * k - (size - 1))", "(T)(2 * k - size)", affine()),
    ("sampler.cu", "I span = align_corners ? size - 1 : size;", "I span = size - 1;", affine(align_corners=False)),
    ("sampler.cu", "theta[0] * x_t + theta[1] * y_t", "theta[0] * x_t + theta[3] * y_t", affine()),
    ("sampler.cu", "points + b * 6", "points", affine("lattice")),
    ("sampler.cu", "dtheta[1] += d.x * y_t", "dtheta[1] += d.y * y_t", affine()),
    ("sampler.cu", "i += strands", "i += strands + 1", affine("lattice", align_corners=False)),
    ("sampler.cu", "slope = -1, side = -side", "slope = -1", sampler("lattice", "reflect")),
    ("sampler.cu", "slope = -1, side = -side", "side = -side", sampler("outside", "reflect")),
    ("sampler.cu", "if (r < 0) r += 2 * span;", "", sampler("outside", "reflect")),
    ("sampler.cu", "if (span == 0) return {0, 0, side};", "", checks_of_cuda.one_pixel_wide),
    ("sampler.cu", "x >= 0 && x < last", "x > 0 && x < last", sampler("lattice", "border")),
    ("sampler.cu", "passes ? slope : 0, side", "slope, side", sampler("outside", "border")),
    ("sampler.cu", "p.side > 0 ? floor(p.x) : ceil(p.x) - 1", "floor(p.x)", sampler("lattice")),
    ("sampler.cu", "floor(p.x + (T)0.5)", "ceil(p.x - (T)0.5)", sampler("halves")),
    ("sampler.cu", "m <= last", "m < last", sampler("border")),
    ("sampler.cu", "(m >= 0) & (m", "(m > 0) & (m", sampler("border")),
    ("sampler.cu", " & !(s.integer && j == 1)", "", sampler("lattice")),
    ("sampler.cu", "T sides = central ? 2 : 1;", "T sides = 1;", sampler()),
    ("sampler.cu", "m.slope[k] * n.weight[j]", "m.slope[k] * n.weight[k]", sampler()),
    ("sampler.cu", "U_nm * m.slope[k] * n.weight[j]", "U_nm * m.slope[k] * n.weight[k]", slopes),
    ("sampler.cu", "U_nm * m.weight[k] * n.slope[j]", "U_nm * m.slope[k] * n.slope[j]", slopes),
    ("sampler.cu", "U_b = U + thread.b * H * W", "U_b = U", slopes),
    ("sampler.cu", "V_b = V + thread.b * each", "V_b = V", slopes),
    ("sampler.cu", "*dx = slopes + thread.b * 2 * each", "*dx = slopes + thread.b * each", slopes),
    ("sampler.cu", "dx_p * pixels_per_unit<T>(W,", "dx_p * pixels_per_unit<T>(H,", slopes),
    ("sampler.cu", " & finite & ", " & ", sampler("odd", "border")),
    ("sampler.cu", "first + width < s.C ? first + width : s.C", "first + width", sampler()),
    ("sampler.cu", "first = (thread.t - i * groups) * width;", "first = 0;", sampler()),
    ("sampler.cu", "I first = group * width", "I first = 0", affine()),
    ("host.h", "return t >= count;", "return t > count;", sampler()),
    ("host.h", "*sum += share;", "*sum = share;", sampler()),
    ("host.h", "sums[c] += weight * shares[c];", "sums[c] = weight * shares[c];", sampler()),
    ("host.h", "[k] += kept", "[k] = kept", sampler()),
    ("host.h", "if (weight == 0) return;", "if (weight < 1) return;", sampler()),
    ("sampler.cu", "62 - bits", "64 - bits", one_pixel_in_fixed_point),
    ("convolution.cu", "hs < 0 || ", "", checks_of_cuda.convolution),
    ("convolution.cu", "h * stride != hs || ", "", checks_of_cuda.convolution),
    ("convolution.cu", " || w >= W_y", "", checks_of_cuda.convolution),
    ("convolution.cu", "xc >= 0 && ", "", checks_of_cuda.convolution),
    ("convolution.cu", "(w * stride - padding) * C", "w * stride * C - padding", checks_of_cuda.convolution),
    ("pooling.cu", "value > best && !first", "value >= best && !first", checks_of_cuda.max_pool),
    ("pooling.cu", " || value != value", "", checks_of_cuda.max_pool),
    ("pooling.cu", "y % size * size + x % size", "x % size * size + y % size", checks_of_cuda.max_pool),
    ("pooling.cu", "h >= H_y || w >= W_y", "false", checks_of_cuda.max_pool),
    ("pooling.cu", " && w * size + j < W", "", checks_of_cuda.max_pool),
    ("relu.cu", "y[t] > 0", "y[t] >= 0", checks_of_cuda.relu),
    ("relu.cu", "sum > 0 || sum != sum", "sum > 0", checks_of_cuda.relu),
    ("relu.cu", "b[t % F]", "b[t / F]", checks_of_cuda.relu),
    ("loss.cu", "exp(z_b[k] - largest)", "exp(z_b[k])", checks_of_cuda.cross_entropy),
    ("loss.cu", "/ (T)B", "/ (T)classes", checks_of_cuda.cross_entropy),
    ("loss.cu", "k == labels[b]", "k != labels[b]", checks_of_cuda.cross_entropy),
    ("optimiser.cu", "g[t] * *scale", "g[t]", checks_of_cuda.sgd),
    ("optimiser.cu", "momentum * v[t] + g[t] * *scale", "momentum * (v[t] + g[t] * *scale)", checks_of_cuda.sgd),
    ("optimiser.cu", "weight_decay * p[t]", "weight_decay", checks_of_cuda.sgd),
    ("optimiser.cu", "v[t] = velocity;", "", checks_of_cuda.sgd),
]


@pytest.mark.parametrize("file, right, wrong, check", MUTANTS, ids=[
    re.sub(r"\W+", "_", f"{file} {right} {wrong}")[:60] for file, right, wrong, _ in MUTANTS])
def test_a_check_sees_it(monkeypatch, file, right, wrong, check):
    text = host.header() if file == "host.h" else launch.text(file)
    assert right in text
    if file == "host.h":
        monkeypatch.setattr(host, "header", lambda: text.replace(right, wrong))
    else:
        monkeypatch.setattr(launch, "text", lambda name: text.replace(right, wrong))
    # a mistake may leave a name without use: that is for the check to see, not for the compiler
    monkeypatch.setattr("cuda_shim.FLAGS", (*cuda_shim.FLAGS, "-Wno-unused"))
    xp = on(HostCuda(), monkeypatch)
    with pytest.raises(AssertionError):
        check(xp)
