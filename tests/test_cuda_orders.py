"""No kernel depends on the order of its threads; only the atomic sum of dU does, in its last bits.

On the host every kernel runs forwards, backwards and shuffled; on a GPU, three times.
"""

import checks_of_cuda
import numpy
import pytest
from cuda_shim import DEVICES, ORDERS, as_on_a_cpu, host_numpy, launched, on, threads_in

from stn_scratch import cuda
from stn_scratch.backend import to_host
from stn_scratch.cuda.launch import kernels
from stn_scratch.sampling.sampler import Options

FILES = ["sampler.cu", "convolution.cu", "pooling.cu", "relu.cu", "loss.cu", "optimiser.cu"]


@pytest.fixture(params=[device for device in DEVICES if device is not host_numpy], ids=lambda module: module.__name__)
def xp(request, monkeypatch):
    return on(request.param, monkeypatch)


def arrays(xp, *shapes):
    rng = numpy.random.default_rng(10)
    return [xp.asarray(rng.normal(size=shape).astype("float32")) for shape in shapes]


def sampler(xp):
    U, dV, theta = arrays(xp, (2, 3, 5, 3), (2, 16, 18, 3), (2, 2, 3))
    grid, = arrays(xp, (2, 2, 16, 18))
    options = Options("bilinear", "border", True, "central")
    V, cache = cuda.sample_forward(U, grid, options)
    V_affine, cache_affine = cuda.affine_sample_forward(U, theta, size=(16, 18), options=options)
    return [V, cuda.sample_backward(dV, cache, need_dU=False)[1],
            V_affine, cuda.affine_sample_backward(dV, cache_affine, need_dU=False)[1]]


def slopes(xp):
    """The kernel that works out V and its slopes at once, and keeps them; only a CPU's launcher asks for it."""
    U, grid = arrays(xp, (2, 3, 5, 1), (2, 2, 16, 18))
    with as_on_a_cpu():
        V, cache = cuda.sample_forward(U, grid, Options("bilinear", "border", True, "right"))
    return [V, cache.slopes]


def scatter(xp):
    """dU of 288 samples on 15 pixels: many shares meet in each."""
    U, grid, dV = arrays(xp, (2, 3, 5, 3), (2, 2, 16, 18), (2, 16, 18, 3))
    _, cache = cuda.sample_forward(U, grid, Options("bilinear", "border", True, "right"))
    return [cuda.sample_backward(dV, cache)[0]]


def fixed_scatter(xp):
    with cuda.deterministic():
        return scatter(xp)


def layers(xp):
    x, y, z, b = arrays(xp, (2, 9, 8, 3), (2 * 8 * 6, 18), (300, 4), 3)
    windows = (8, 6), (2, 3), 1, 0
    pooled, winner = cuda.max_pool_forward(x, (4, 4), 2)
    positive = cuda.bias_relu_forward(x, b)
    labels = xp.asarray(numpy.arange(300) % 4)
    loss, p = cuda.softmax_cross_entropy_forward(z, labels)
    return [cuda.im2col(x, *windows), cuda.col2im(y, x.shape, *windows), pooled, winner,
            cuda.max_pool_backward(pooled, winner, x.shape, 2), positive, cuda.relu_backward(x, positive), loss, p,
            cuda.softmax_cross_entropy_backward(1.0, p, labels)]


def sgd(xp):
    p, v, g, scale = arrays(xp, 1000, 1000, 1000, ())
    cuda.sgd_update(p, v, g, scale, momentum=0.9, weight_decay=0.01, rate=0.1)
    return [p, v]


def in_every_order(run, xp):
    results = []
    for order in ORDERS:
        with threads_in(order):
            results.append([to_host(a) for a in run(xp)])
    return results


@pytest.mark.parametrize("run", [sampler, slopes, fixed_scatter, layers, sgd], ids=lambda run: run.__name__)
def test_any_order_gives_the_same_bits(xp, run):
    first, *others = in_every_order(run, xp)
    for other in others:
        for a, b in zip(first, other, strict=True):
            numpy.testing.assert_array_equal(a, b, strict=True)


def test_the_atomic_sum_differs_in_its_last_bits(monkeypatch):
    """So the tests above would notice; and this is what the fixed point is for."""
    xp = on(DEVICES[0], monkeypatch)
    first, *others = (result[0] for result in in_every_order(scatter, xp))
    for other in others:
        assert (other != first).any()
        checks_of_cuda.equal("dU", xp.asarray(other), first, checks_of_cuda.TOLERANCE["float32"])


def test_every_kernel_was_run(monkeypatch):
    """A new kernel: give it a place in the runs above."""
    xp = on(DEVICES[0], monkeypatch)
    for run in (sampler, slopes, scatter, fixed_scatter, layers, sgd):
        run(xp)
    assert set(launched) == {name for file in FILES for name in kernels(file, "float, int")}
