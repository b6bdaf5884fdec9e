"""Checks of the CUDA kernels against the NumPy pairs, shared: the ordinary tests run them, and the mutants must fail.

A check is given `xp`, the module whose arrays the kernels take: host_cuda (see cuda_shim.py), or CuPy itself. The
oracle is always the pair on NumPy arrays.
"""

import itertools

import numpy
from checks_of_pairs import SIZES, normalised, pixel_coordinates

from stn_scratch import cuda, layers
from stn_scratch.backend import to_host
from stn_scratch.grids.affine import affine_grid_backward, affine_grid_forward
from stn_scratch.optimiser import SGD
from stn_scratch.parameters import pack
from stn_scratch.sampling import sample_backward, sample_forward
from stn_scratch.sampling.bilinear import BilinearCache
from stn_scratch.sampling.sampler import Options

TOLERANCE = {"float32": 1e-6, "float64": 2e-15}  # of the largest number, for sums whose order differs
ODD = [numpy.nan, numpy.inf, -numpy.inf, 1e31, -2e30, 1e30, -1e20, 1e7]  # coordinates that sample nothing, or far away
WHERE = ["generic", "border", "outside", "lattice", "halves", "odd"]
CHANNELS = (1, 3, 32)


def equal(name, actual, expected, tolerance=0.0):
    """Assert that a device array equals a NumPy array; tolerance: a fraction of the largest finite number."""
    actual, expected = to_host(actual), numpy.asarray(expected)
    assert actual.dtype == expected.dtype and actual.shape == expected.shape, f"{name}: {actual.dtype} {actual.shape}"
    finite = numpy.isfinite(expected)
    numpy.testing.assert_array_equal(actual[~finite], expected[~finite], err_msg=name)  # NaN equals NaN here
    actual, expected = actual[finite], expected[finite]
    error, bound = abs(actual - expected).max(initial=0), tolerance * abs(expected).max(initial=0)
    assert error <= bound, f"{name}: largest difference {error:.3g} > {bound:.3g}"  # NaN fails, too


# The sampler.

def sampler_case(where, C, dtype, align_corners, seed=0):
    """U, grid, dV, of all different sizes; at lattice points they are such that no coordinate is rounded."""
    rng, s = numpy.random.default_rng(seed), SIZES[align_corners]
    shape = s.B, s.H_out, s.W_out
    grid = numpy.stack([normalised(pixel_coordinates("generic" if where == "odd" else where, n, shape, rng), n,
                                   align_corners) for n in (s.W, s.H)], axis=1)
    if where == "odd":
        places = rng.permutation(grid.size)[:6 * len(ODD)]
        grid.reshape(-1)[places] = ODD * 6
    U, dV = rng.normal(size=(s.B, s.H, s.W, C)), rng.normal(size=(*shape, C))
    return tuple(a.astype(dtype) for a in (U, grid, dV))


def every_option(kernels=cuda.KERNELS, channels=CHANNELS):
    return itertools.product(channels, ("float32", "float64"), kernels, ("right", "central"))


def sampler(xp, where="generic", padding="zeros", align_corners=True, channels=CHANNELS):
    for C, dtype, kernel, lattice in every_option(channels=channels):
        options = Options(kernel, padding, align_corners, lattice)
        name = f"C={C} {dtype} {options}"
        U, grid, dV = sampler_case(where, C, dtype, align_corners)
        V, plain = sample_forward(U, grid, **options._asdict())
        dU, dgrid = sample_backward(dV, plain)
        V_fused, cache = cuda.sample_forward(xp.asarray(U), xp.asarray(grid), options)
        dU_fused, dgrid_fused = cuda.sample_backward(xp.asarray(dV), cache)
        # bit for bit as over the taps; the form that is written out adds in another order
        written_out = isinstance(plain, BilinearCache)
        equal(f"V {name}", V_fused, V, TOLERANCE[dtype] if written_out else 0)
        equal(f"dU {name}", dU_fused, dU, TOLERANCE[dtype])
        equal(f"dgrid {name}", dgrid_fused, dgrid, TOLERANCE[dtype])
        with cuda.deterministic():
            equal(f"dU in fixed point {name}", cuda.sample_backward(xp.asarray(dV), cache)[0], dU, TOLERANCE[dtype])


def one_pixel_wide(xp):
    """Sides of one pixel, where (W - 1) / 2 is 0 and reflection has nowhere to go."""
    for C, padding, align_corners, lattice in itertools.product((1, 3), ("zeros", "border", "reflect"), (True, False),
                                                                ("right", "central")):
        options = Options("bilinear", padding, align_corners, lattice)
        rng = numpy.random.default_rng(1)
        U, grid, dV = rng.normal(size=(2, 1, 1, C)), rng.normal(size=(2, 2, 1, 4)), rng.normal(size=(2, 1, 4, C))
        V, cache = sample_forward(U, grid, **options._asdict())
        V_fused, cache_fused = cuda.sample_forward(xp.asarray(U), xp.asarray(grid), options)
        equal(f"V {options}", V_fused, V)
        for fused, plain in zip(cuda.sample_backward(xp.asarray(dV), cache_fused), sample_backward(dV, cache),
                                strict=True):
            equal(f"gradient {options}", fused, plain, TOLERANCE["float64"])


THETAS = {
    "generic": [[0.9, -0.3, 0.21], [0.25, 1.1, -0.13]],
    "outside": [[1.7, 0.6, 0.8], [-0.6, 2.1, -0.7]],
    "lattice": [[0.5, 0, 0.25], [0, 1, 0.5]],  # with the sizes below, every sample stands on a pixel
    "odd": [[numpy.nan, 1, 0], [0, numpy.inf, 0]],
    "huge": [[1e16, 0, 0], [0, 1, 0]],  # not to be computed with, though its middle column would be read
}


def affine_sampler(xp, where="generic", padding="zeros", align_corners=True):
    """Grid and sampler in one, against the two pairs after each other."""
    H, W, size = (5, 9, (3, 5)) if align_corners else (4, 16, (2, 8))
    for C, dtype, kernel, lattice in every_option():
        options = Options(kernel, padding, align_corners, lattice)
        name = f"C={C} {dtype} {options}"
        rng = numpy.random.default_rng(2)
        U, dV = rng.normal(size=(2, H, W, C)).astype(dtype), rng.normal(size=(2, *size, C)).astype(dtype)
        theta = numpy.stack([THETAS[where], THETAS["generic"]]).astype(dtype)
        grid, cache_grid = affine_grid_forward(theta, size=size, align_corners=align_corners)
        V, cache = sample_forward(U, grid, **options._asdict())
        dU, dgrid = sample_backward(dV, cache)
        dtheta = affine_grid_backward(dgrid, cache_grid)
        V_fused, cache = cuda.affine_sample_forward(xp.asarray(U), xp.asarray(theta), size=size, options=options)
        dU_fused, dtheta_fused = cuda.affine_sample_backward(xp.asarray(dV), cache)
        equal(f"V {name}", V_fused, V, TOLERANCE[dtype])
        equal(f"dU {name}", dU_fused, dU, TOLERANCE[dtype])
        equal(f"dtheta {name}", dtheta_fused, dtheta, TOLERANCE[dtype])
        equal(f"dtheta {name}", cuda.sample_backward(xp.asarray(dV), cache)[1], dtheta, TOLERANCE[dtype])


# The layers.

def convolution(xp, dtype="float32"):
    """With a matrix product beside it, im2col is the convolution and col2im its gradient."""
    rng = numpy.random.default_rng(3)
    for C, stride, padding, kh, kw in itertools.product((1, 3, 32), (1, 2, 3), (0, 1, 2), (1, 3), (2, 4)):
        x, W = (rng.normal(size=n).astype(dtype) for n in ((2, 7, 6, C), (kh, kw, C, 5)))
        y, cache = layers.conv2d_forward(x, W, numpy.zeros(5, dtype), stride=stride, padding=padding)
        dy = rng.normal(size=y.shape).astype(dtype)
        dx = layers.conv2d_backward(dy, cache)[0]
        windows, rows = (y.shape[1:3], (kh, kw), stride, padding), W.reshape(-1, 5)
        name = f"C={C} stride={stride} padding={padding} {kh}x{kw}"
        columns = to_host(cuda.im2col(xp.asarray(x), *windows))
        equal(f"y {name}", (columns @ rows).reshape(y.shape), y, TOLERANCE[dtype])
        equal(f"dx {name}", cuda.col2im(xp.asarray(dy.reshape(-1, 5) @ rows.T), x.shape, *windows), dx,
              TOLERANCE[dtype])


def max_pool(xp, dtype="float32"):
    rng = numpy.random.default_rng(4)
    for C, size, ceil, nan in itertools.product((1, 3, 32), (1, 2, 3, 5), (False, True), (False, True)):
        x = rng.integers(-3, 1, (2, 7, 9, C)).astype(dtype)  # few different numbers: many ties, and few above 0
        if nan:
            x[rng.random(x.shape) < 0.1] = numpy.nan
        with numpy.errstate(invalid="ignore"):
            y, cache = layers.max_pool_forward(x, size=size, ceil=ceil)
        dy = rng.normal(size=y.shape).astype(dtype)
        y_fused, winner = cuda.max_pool_forward(xp.asarray(x), y.shape[1:3], size)
        name = f"C={C} size={size} ceil={ceil} NaN={nan}"
        equal(f"y {name}", y_fused, y)
        equal(f"dx {name}", cuda.max_pool_backward(xp.asarray(dy), winner, x.shape, size),
              layers.max_pool_backward(dy, cache))


def relu(xp, dtype="float32"):
    rng = numpy.random.default_rng(5)
    x, b, dy = (rng.integers(-2, 3, shape).astype(dtype) for shape in ((4, 3, 5, 7), 7, (4, 3, 5, 7)))  # many kinks
    x[0, 0, 0, :3] = numpy.nan, numpy.inf, -numpy.inf
    for name, bias in (("relu", None), ("bias and relu", b)):
        y, cache = layers.relu_forward(x if bias is None else x + bias)
        dx = layers.relu_backward(dy, cache)
        if bias is None:
            y_fused = cuda.relu_forward(xp.asarray(x))
            dx_fused = cuda.relu_backward(xp.asarray(dy), y_fused)
        else:
            y_fused = cuda.bias_relu_forward(xp.asarray(x), xp.asarray(bias))
            dx_fused, db = cuda.bias_relu_backward(xp.asarray(dy), y_fused)
            equal("db", db, dx.reshape(-1, 7).sum(axis=0))  # whole numbers: no rounding
        equal(f"y {name}", y_fused, y)
        equal(f"dx {name}", dx_fused, dx)


def cross_entropy(xp, dtype="float32"):
    for classes, scale, kind in ((10, 1, "int64"), (3, 1e4, "int32"), (1, 1, "uint8")):
        rng = numpy.random.default_rng(6)
        z = (scale * rng.normal(size=(7, classes))).astype(dtype)
        labels = rng.integers(0, classes, 7).astype(kind)
        loss, cache = layers.softmax_cross_entropy_forward(z, labels=labels)
        loss_fused, p = cuda.softmax_cross_entropy_forward(xp.asarray(z), xp.asarray(labels))
        equal(f"loss {classes}", loss_fused, loss, TOLERANCE[dtype])
        for dloss in (1.0, numpy.asarray(0.25, dtype)):
            dz = layers.softmax_cross_entropy_backward(dloss, cache)
            on_device = dloss if isinstance(dloss, float) else xp.asarray(dloss)
            equal(f"dz {classes}", cuda.softmax_cross_entropy_backward(on_device, p, xp.asarray(labels)), dz,
                  TOLERANCE[dtype])


def sgd(xp, dtype="float32"):
    """Five steps against the optimiser's: clipped gradients, weight decay, a rate of its own for the localisation."""
    rng = numpy.random.default_rng(7)
    shapes = {"localisation": {"W": (3, 4), "b": (4,)}, "W": (5, 6)}

    def tree():
        return pack({k: {n: rng.normal(size=s).astype(dtype) for n, s in v.items()} if isinstance(v, dict)
                     else rng.normal(size=v).astype(dtype) for k, v in shapes.items()})

    params, optimiser = tree(), SGD(lr=0.1, momentum=0.8, localisation_factor=0.3, clip_norm=2.0, weight_decay=0.2)
    p, v = xp.asarray(params.flat), xp.zeros(params.flat.shape, dtype=dtype)
    for _ in range(5):
        grads = tree()
        g = grads.flat
        scale = numpy.minimum(1, 2.0 / numpy.sqrt((g * g).sum())).astype(dtype)
        for start, stop, rate in ((0, 16, 0.1 * 0.3), (16, 46, 0.1)):  # views: the update is in place
            cuda.sgd_update(p[start:stop], v[start:stop], xp.asarray(g[start:stop]), xp.asarray(scale),
                            momentum=0.8, weight_decay=0.2, rate=rate)
        optimiser.step(params, grads)
    equal("p", p, params.flat)  # bit for bit
    equal("v", v, optimiser.velocity)
