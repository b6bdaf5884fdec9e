"""The fused kernels of the layers and the optimiser, against the NumPy pairs."""

import checks_of_cuda
import numpy
import pytest
from checks_of_cuda import equal
from cuda_shim import DEVICES, launched, on

from stn_scratch import cuda
from stn_scratch.backend import to_host


@pytest.fixture(params=DEVICES, ids=lambda module: module.__name__)
def xp(request, monkeypatch):
    return on(request.param, monkeypatch)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("check", ["convolution", "max_pool", "relu", "cross_entropy", "sgd"])
def test_layers(xp, check, dtype):
    getattr(checks_of_cuda, check)(xp, dtype)


def test_im2col_is_a_copy_in_the_pairs_layout(xp):
    """One row for each window (b, h, w); in it the taps, row by row, and the channels of each."""
    x = numpy.arange(2 * 4 * 5 * 3, dtype="float64").reshape(2, 4, 5, 3)
    columns = to_host(cuda.im2col(xp.asarray(x), (3, 2), (2, 3), 1, 0)).reshape(2, 3, 2, 2, 3, 3)
    for b, h, w, i, j, c in numpy.ndindex(columns.shape):
        assert columns[b, h, w, i, j, c] == x[b, h + i, w + j, c]


def test_numbers_of_numpy(xp):
    """A stride or a rate may be a NumPy number: it is passed as what the kernel takes."""
    x = xp.asarray(numpy.arange(2 * 4 * 5, dtype="float32").reshape(2, 4, 5, 1))
    plain = cuda.im2col(x, (2, 2), (2, 3), 2, 1)
    equal("columns", cuda.im2col(x, (2, 2), (numpy.int64(2), 3), numpy.int64(2), numpy.uint8(1)), to_host(plain))
    p, v = xp.ones(3, dtype="float32"), xp.zeros(3, dtype="float32")
    cuda.sgd_update(p, v, p, None, momentum=numpy.float64(0.5), weight_decay=0, rate=numpy.float32(0.25))
    equal("p", p, numpy.full(3, 0.75, "float32"))


def test_col2im_is_the_transpose(xp):
    rng = numpy.random.default_rng(9)
    for stride, padding, size in ((1, 0, (5, 3)), (2, 1, (4, 3)), (3, 2, (3, 2))):
        x = rng.normal(size=(2, 7, 6, 3))
        windows = size, (3, 4), stride, padding
        columns = to_host(cuda.im2col(xp.asarray(x), *windows))
        y = rng.normal(size=columns.shape)
        dx = to_host(cuda.col2im(xp.asarray(y), x.shape, *windows))
        assert abs((columns * y).sum() - (x * dx).sum()) <= 1e-12


def test_empty_batch(xp):
    def empty(*shape):
        return xp.zeros((0, *shape), dtype="float32")

    windows = (3, 2), (2, 3), 1, 0
    for name, actual, shape in (
        ("columns", cuda.im2col(empty(4, 4, 3), *windows), (0, 18)),
        ("dx", cuda.col2im(empty(18), (0, 4, 4, 3), *windows), (0, 4, 4, 3)),
        ("y", cuda.max_pool_forward(empty(4, 4, 3), (2, 2), 2)[0], (0, 2, 2, 3)),
        ("dx", cuda.max_pool_backward(empty(2, 2, 3), empty(2, 2, 3).astype("uint8"), (0, 4, 4, 3), 2), (0, 4, 4, 3)),
        ("y", cuda.relu_forward(empty(4)), (0, 4)),
        ("y", cuda.bias_relu_forward(empty(4), xp.ones(4, dtype="float32")), (0, 4)),
        ("dx", cuda.relu_backward(empty(4), empty(4)), (0, 4)),
        ("db", cuda.bias_relu_backward(empty(4), empty(4))[1], (4,)),
    ):
        equal(name, actual, numpy.zeros(shape, "float32"))
    assert launched == []


def test_a_label_that_is_no_class(xp):
    """The pair checks the labels on the host only. On a GPU such a label makes the loss NaN, and reads nothing."""
    z = xp.zeros((3, 4), dtype="float64")
    for bad in (-1, 4, 2**40):
        labels = xp.asarray(numpy.array([0, bad, 1]))
        loss, p = cuda.softmax_cross_entropy_forward(z, labels)
        assert numpy.isnan(to_host(loss))
        dz = to_host(cuda.softmax_cross_entropy_backward(3.0, p, labels))
        assert dz.tolist() == [[-0.75, 0.25, 0.25, 0.25], [0.25] * 4, [0.25, -0.75, 0.25, 0.25]]


def test_a_logit_that_is_nan(xp):
    z = numpy.zeros((2, 3))
    z[0, 1] = numpy.nan
    loss, p = cuda.softmax_cross_entropy_forward(xp.asarray(z), xp.asarray(numpy.array([0, 0])))
    assert numpy.isnan(to_host(loss))
    equal("p", p, numpy.array([[numpy.nan] * 3, [1 / 3] * 3]))
