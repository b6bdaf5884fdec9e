"""Checks of the 3-D transformer and of FlattenDepth, shared: the tests run them, and the mutants must fail them."""

import checks_of_pairs as checks
import numpy
from small_networks import as_pair, start

from stn_scratch import transformer3d
from stn_scratch.backend import to_host
from stn_scratch.gradcheck import adjoint_error, check_gradients
from stn_scratch.network import Dense, Flatten, ReLU, Sequential

VOLUME, SIZE = (5, 3, 6, 2), (4, 7, 3)


def localisation():
    return Sequential(Flatten(), Dense(4), ReLU())


def transformed(xp, theta, *, size=None):
    """The output of a transformer whose theta is the same for every volume, and its input: random cubes of 5^3."""
    network = transformer3d.SpatialTransformer3D(localisation(), size=size)
    params, U = start(network, (5, 5, 5, 2), xp)
    params["localisation"]["regression"]["b"][...] = xp.asarray(numpy.ravel(theta).astype("float64"))
    return to_host(network.forward(params, U)[0]), to_host(U)


def identity(xp, dtype="float64"):
    network = transformer3d.SpatialTransformer3D(localisation())
    params, U = start(network, VOLUME, xp, dtype=dtype)
    V, _ = network.forward(params, U)
    assert V.dtype == dtype
    return checks.close(V, to_host(U), {"float64": 1e-12, "float32": 1e-5}[dtype])


def turned_cube(xp):
    """A quarter turn and a flip, which need no interpolation: x_s = y_t, y_s = -z_t, z_s = x_t."""
    V, U = transformed(xp, [[0, 1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0]])
    expected = numpy.zeros_like(U)
    for d, h, w in numpy.ndindex(5, 5, 5):
        expected[:, d, h, w] = U[:, w, 4 - d, h]  # plane z_s, row y_s, column x_s
    return checks.close(V, expected, 1e-12)


def cropped_cube(xp):
    """Half the width, moved to the right, of one row of one plane: x_s = x_t / 2 + 1/2, y_s = 1/2, z_s = -1/2."""
    V, U = transformed(xp, [[0.5, 0, 0, 0.5], [0, 0, 0, 0.5], [0, 0, 0, -0.5]], size=(2, 1, 3))
    expected = numpy.stack([U[:, 1, 3:4, 2:5]] * 2, axis=1)
    return checks.close(V, expected, 1e-12)


def two_paths(xp):
    """The loss reaches the input through the voxels and through theta: dU against finite differences."""
    network = transformer3d.SpatialTransformer3D(localisation(), size=SIZE)
    params, U = start(network, VOLUME, xp, noise=0.2)
    return check_gradients(lambda U: network.forward(params, U),
                           lambda dV, cache: network.backward(dV, cache)[0], (U,), entries=150)


def parameter_gradients(xp):
    network = transformer3d.SpatialTransformer3D(localisation(), size=SIZE)
    params, U = start(network, VOLUME, xp, noise=0.2)
    forward, backward = as_pair(network, params)
    return check_gradients(lambda flat: forward(U, flat), lambda dV, cache: backward(dV, cache)[1], (params.flat,),
                           entries=150)


def views(xp):
    """What is seen along each axis, one number at a time."""
    U = numpy.random.default_rng(1).normal(size=(2, *VOLUME))
    B, D, H, W, C = U.shape
    seen = {"z": numpy.zeros((B, H, W, C)), "y": numpy.zeros((B, D, W, C)), "x": numpy.zeros((B, H, D, C))}
    for b, d, h, w, c in numpy.ndindex(U.shape):
        seen["z"][b, h, w, c] += U[b, d, h, w, c]
        seen["y"][b, d, w, c] += U[b, d, h, w, c]
        seen["x"][b, h, d, c] += U[b, d, h, w, c]
    for axis, expected in seen.items():
        network = transformer3d.FlattenDepth(axis, spacing=2.5)
        params, out_shape = network.init(None, VOLUME)
        checks.close(network.forward(params, xp.asarray(U))[0], 2.5 * expected, 1e-12)
        assert out_shape == expected.shape[1:]


def view_gradients(xp):
    U = xp.asarray(numpy.random.default_rng(2).normal(size=(2, *VOLUME)))
    for axis in "zyx":
        network = transformer3d.FlattenDepth(axis, spacing=2.5)

        def forward(U, network=network):
            return network.forward({}, U)

        def backward(dW, cache, network=network):
            return network.backward(dW, cache)[0]

        error = adjoint_error(forward, backward, (U,))
        assert error <= 1e-12, f"adjoint error {error:.3g}"
        check_gradients(forward, backward, (U,))


