"""The spatial transformer of a volume and the flattening as networks; each planted mistake is caught."""

import checks_of_transformer3d as checks
import numpy
import pytest
from mutants import checked_by, mutants_of
from sentences import raises
from small_networks import same, same_tree, start

from stn_scratch import transformer3d
from stn_scratch.backend import to_host
from stn_scratch.network import Conv2D, Dense, Flatten, Parallel, Sequential
from stn_scratch.parameters import leaves
from stn_scratch.sampling.volume import sample3d_backward
from stn_scratch.transformer import looks
from stn_scratch.transformer3d import FlattenDepth, SpatialTransformer3D

CHECKS = {name: getattr(checks, name.replace(" ", "_")) for name in (
    "identity", "turned cube", "cropped cube", "two paths", "parameter gradients", "views", "view gradients")}
MUTANTS, mutant = mutants_of()


def change_backward(patch, change):
    """change(self, dV, cache, dU, grads) -> dU in place of what SpatialTransformer3D.backward gives."""
    backward = SpatialTransformer3D.backward

    def wrong(self, dV, cache, **options):
        dU, grads = backward(self, dV, cache, **options)
        return change(self, dV, cache, dU), grads

    patch.setattr(SpatialTransformer3D, "backward", wrong)


@mutant("two paths", deceived="identity; turned cube; parameter gradients; views")
def path_through_theta_lost(patch):
    change_backward(patch, lambda self, dV, cache, dU: sample3d_backward(dV, cache.V)[0])


@mutant("two paths", deceived="identity; turned cube; parameter gradients; views")
def path_through_the_voxels_lost(patch):
    change_backward(patch, lambda self, dV, cache, dU: dU - sample3d_backward(dV, cache.V)[0])


def change_grid(patch, change):
    """change(theta (B, 3, 4)) in place of theta, forward and backward."""
    forward, backward = transformer3d.affine_grid3d_forward, transformer3d.affine_grid3d_backward
    patch.setattr(transformer3d, "affine_grid3d_forward", lambda theta, **options: forward(change(theta), **options))
    patch.setattr(transformer3d, "affine_grid3d_backward", lambda dgrid, cache: change(backward(dgrid, cache)))


@mutant("identity; turned cube; cropped cube", deceived="two paths; parameter gradients; views")
def rows_x_and_z_exchanged(patch):
    change_grid(patch, lambda theta: theta[:, ::-1])


@mutant("identity; turned cube", deceived="two paths; parameter gradients; views")
def columns_y_and_z_exchanged(patch):
    change_grid(patch, lambda theta: theta[:, :, [0, 2, 1, 3]])


@mutant("parameter gradients; two paths", deceived="identity; turned cube; cropped cube")
def dtheta_in_columns(patch):
    backward = transformer3d.affine_grid3d_backward
    patch.setattr(transformer3d, "affine_grid3d_backward",
                  lambda dgrid, cache: backward(dgrid, cache).swapaxes(1, 2))


@mutant("views", deceived="identity; view gradients; two paths")
def seen_along_another_axis(patch):
    patch.setattr(transformer3d, "AXES", {"z": 1, "y": 3, "x": 2})


@mutant("view gradients", deceived="identity; views; two paths")
def spacing_forgotten_in_backward(patch):
    backward = FlattenDepth.backward
    patch.setattr(FlattenDepth, "backward", lambda self, dW, cache, **options: backward(
        FlattenDepth(self.axis), dW, cache, **options))


test_the_package_passes, test_caught, test_deceived = checked_by(CHECKS, MUTANTS)


def test_float32_stays_float32(xp):
    checks.identity(xp, dtype="float32")


def test_starts_as_the_identity_and_can_leave_it(xp):
    """The bias of the regression has a gradient at the start; the layers below it have none until its W moves."""
    network = SpatialTransformer3D(checks.localisation(), lattice="central")
    params, U = start(network, checks.VOLUME, xp)
    V, cache = network.forward(params, U)
    assert to_host(cache.theta).tolist() == [[1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]] * 2
    _, grads = network.backward(xp.asarray(numpy.random.default_rng(4).normal(size=V.shape)), cache)
    regression = grads["localisation"]["regression"]
    assert (numpy.abs(to_host(regression["b"])) > 1e-3).all() and to_host(regression["W"]).any()
    assert not any(to_host(a).any() for _, a in leaves(grads["localisation"]["hidden"]))


def test_both_paths_are_there(xp):
    network = SpatialTransformer3D(checks.localisation(), size=checks.SIZE)
    params, U = start(network, checks.VOLUME, xp, noise=0.2)
    V, cache = network.forward(params, U)
    dU, _ = network.backward(V, cache)
    through_voxels, _ = sample3d_backward(V, cache.V)
    assert numpy.abs(to_host(dU - through_voxels)).max() > 1e-3 < numpy.abs(to_host(through_voxels)).max()


@pytest.mark.parametrize("make", [lambda: SpatialTransformer3D(checks.localisation(), size=checks.SIZE),
                                  lambda: FlattenDepth("y", spacing=0.5)])
def test_without_dx_the_other_gradients_are_the_same(xp, make):
    network = make()
    params, U = start(network, checks.VOLUME, xp, noise=0.2)
    V, cache = network.forward(params, U)
    (_, grads), (dx, others) = network.backward(V, cache), network.backward(V, cache, need_dx=False)
    assert dx is None
    same_tree(grads, others)


def test_the_lattice_rule_reaches_the_sampler(xp):
    """At the identity the slopes of the two rules differ."""
    gradients = []
    for lattice in ("right", "central"):
        network = SpatialTransformer3D(checks.localisation(), lattice=lattice)
        params, U = start(network, checks.VOLUME, xp)
        V, cache = network.forward(params, U)
        gradients.append(to_host(network.backward(V, cache)[1]["localisation"]["regression"]["b"]))
    assert numpy.abs(gradients[0] - gradients[1]).max() > 0.1


def test_looks_into_a_volume(xp):
    network = Sequential(SpatialTransformer3D(checks.localisation(), size=checks.SIZE), FlattenDepth(), Conv2D(2, 2),
                         Flatten(), Dense(3))
    params, U = start(network, checks.VOLUME, xp, noise=0.1)
    logits, (look,) = looks(network, params, U)
    same(logits, network.forward(params, U)[0])
    same(look.U, U)
    transformer, transformer_params = look.transformer, params["0 SpatialTransformer3D"]
    same(look.V, transformer.forward(transformer_params, U)[0])
    assert look.theta.shape == (2, 12) and look.grid.shape == (2, 3, *checks.SIZE)


def test_views_of_a_cube_are_channels(xp):
    network = Parallel(FlattenDepth("z"), FlattenDepth("y"), FlattenDepth("x"))
    params, U = start(network, (4, 4, 4, 1), xp)
    seen, _ = network.forward(params, U)
    same(seen, numpy.stack([to_host(U)[..., 0].sum(axis=axis) for axis in (1, 2)]
                           + [to_host(U)[..., 0].sum(axis=3).swapaxes(1, 2)], axis=-1))


@pytest.mark.parametrize("make, sentence", [
    (lambda: SpatialTransformer3D(None, size=(3, 4)), "size must be 3 positive whole numbers, not (3, 4)"),
    (lambda: SpatialTransformer3D(None, lattice="left"), "lattice must be one of 'right', 'central', not 'left'"),
    (lambda: FlattenDepth("w"), "axis must be one of 'z', 'y', 'x', not 'w'"),
    (lambda: FlattenDepth(spacing=0), "spacing must be a finite number, more than 0, not 0"),
    (lambda: FlattenDepth().init(None, (5, 6, 1)),
     "FlattenDepth takes volumes (D, H, W, C); its input here is (5, 6, 1)"),
    (lambda: SpatialTransformer3D(checks.localisation()).init(None, (5, 6, 1)),
     "SpatialTransformer3D takes volumes (D, H, W, C); its input here is (5, 6, 1)"),
])
def test_refused(make, sentence):
    with raises(ValueError, sentence):
        make()
