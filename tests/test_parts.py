"""Part transformers: against pieces that exist, finite differences, where they start, what shows them, mutants."""

import numpy
import pytest
from sentences import raises
from small_networks import as_pair, localisation, same, same_tree, start

from stn_scratch import parts
from stn_scratch.backend import to_host
from stn_scratch.gradcheck import check_gradients
from stn_scratch.network import Conv2D, Dense, Flatten, MaxPool, ReLU, Sequential
from stn_scratch.parts import PartTransformers, tiles
from stn_scratch.transformer import SpatialTransformer, looks

IMAGE = (9, 13, 2)  # of 4 x 6 pixels at scale 0.5: 6.5 is rounded to even
BRANCH = Sequential(Conv2D(3, 2), ReLU(), MaxPool(2, ceil=True), Flatten(), Dense(4))


def network(number=3, branch=BRANCH, **options):
    return PartTransformers(localisation(5), number, branch, **options)


def of_regression(params):
    return params["localisation"]["regression"]


# Where the crops start.

@pytest.mark.parametrize("number, scale, centres", [
    (1, 0.5, [(0, 0)]),
    (2, 0.5, [(-0.5, 0), (0.5, 0)]),
    (3, 0.25, [(-0.75, 0), (0, 0), (0.75, 0)]),
    (4, 0.5, [(-0.5, -0.5), (0.5, -0.5), (-0.5, 0.5), (0.5, 0.5)]),
    (6, 0.4, [(-0.6, -0.6), (0, -0.6), (0.6, -0.6), (-0.6, 0.6), (0, 0.6), (0.6, 0.6)]),
    (4, 1.0, [(0, 0)] * 4),
])
def test_tiles(number, scale, centres):
    numpy.testing.assert_allclose(tiles(number, scale), centres, rtol=0, atol=1e-15)


@pytest.mark.parametrize("number, where", [(4, [(0, 0), (0, 6), (4, 0), (4, 6)]), (2, [(2, 0), (2, 6)])])
def test_crops_start_as_tiles_of_the_image(xp, number, where):
    """Without align_corners crops of half the pixels lie exactly on pixels: they are slices."""
    net = network(number, align_corners=False)
    params, U = start(net, (8, 12, 2), xp)
    assert not to_host(of_regression(params)["W"]).any()
    crops = net.crops(U, net.forward(params, U)[1])
    assert len(crops) == number
    for crop, (n, m) in zip(crops, where, strict=True):
        same(crop.V, U[:, n:n + 4, m:m + 6])
        same(crop.theta[:, 0], xp.full(2, 0.5))


# Against pieces that exist.

def composed(net, params, U, dy, size):
    """y, dU and the gradients of a `PartTransformers`, from SpatialTransformers of one part each.

    Each has the regression's two columns of its part, and in front of them one with no weights for s; all have the one
    localisation network, so what they ask of it and of U adds.
    """
    xp, regression = parts.get_array_module(U), of_regression(params)
    N = net.parts
    total, descriptors, dW, db, dhidden, branches = 0 * U, [], [], [], 0, {}
    for i in range(N):
        columns = slice(2 * i, 2 * i + 2)
        W = xp.concatenate([0 * regression["W"][:, :1], regression["W"][:, columns]], axis=1)
        b = xp.concatenate([0 * regression["b"][:1] + net.scale, regression["b"][columns]])
        one = SpatialTransformer(net.localisation, "attention", size=size, align_corners=net.align_corners)
        own = {"localisation": {"hidden": params["localisation"]["hidden"], "regression": {"W": W, "b": b}}}
        both, names = Sequential(one, net.branch), ["0 SpatialTransformer", "1 Sequential"]
        y, cache = both.forward(dict(zip(names, [own, params[f"part {i + 1}"]], strict=True)), U)
        D = y.shape[1]
        dU, grads = both.backward(dy[:, i * D:(i + 1) * D], cache)
        total = total + dU
        descriptors.append(y)
        found = grads[names[0]]["localisation"]
        dW.append(found["regression"]["W"][:, 1:])
        db.append(found["regression"]["b"][1:])
        dhidden = [found["hidden"]] if i == 0 else [*dhidden, found["hidden"]]
        branches[f"part {i + 1}"] = grads[names[1]]
    hidden = {layer: {name: sum(d[layer][name] for d in dhidden) for name in arrays}
              for layer, arrays in dhidden[0].items()}
    grads = {"localisation": {"hidden": hidden, "regression": {"W": xp.concatenate(dW, axis=1),
                                                               "b": xp.concatenate(db)}}, **branches}
    return xp.concatenate(descriptors, axis=1), total, grads


@pytest.mark.parametrize("number, options, size", [
    (3, {}, (4, 6)), (2, {"scale": 0.3}, (3, 4)), (4, {"size": (5, 3), "align_corners": False}, (5, 3)),
])
def test_equals_transformers_of_one_part_each(xp, number, options, size):
    net = network(number, **options)
    params, U = start(net, IMAGE, xp, noise=0.2)
    y, cache = net.forward(params, U)
    dy = xp.asarray(numpy.random.default_rng(4).normal(size=y.shape))
    dU, grads = net.backward(dy, cache)
    y_composed, dU_composed, grads_composed = composed(net, params, U, dy, size)
    same(y, y_composed)
    same(dU, dU_composed)
    same_tree(grads, grads_composed)
    same_tree(net.backward(dy, cache, need_dx=False)[1], grads)
    assert net.backward(dy, cache, need_dx=False)[0] is None


# Gradients.

def gradients(xp, **options):
    net = network(**options)
    params, U = start(net, IMAGE, xp, noise=0.2)
    forward, backward = as_pair(net, params)
    return check_gradients(forward, backward, (U, params.flat), entries=150)


@pytest.mark.parametrize("options", [{}, {"number": 2, "scale": 0.8}, {"number": 4, "size": (3, 5)},
                                     {"number": 1, "align_corners": False}])
def test_gradients(xp, options):
    assert gradients(xp, **options) <= 1e-7


def test_from_the_start_every_part_can_move(xp):
    """At zero weights the regression has gradients already, for t_x and t_y of every part."""
    net = network()
    params, U = start(net, IMAGE, xp)
    y, cache = net.forward(params, U)
    _, grads = net.backward(y, cache)
    assert (numpy.abs(to_host(of_regression(grads)["b"])) > 1e-3).all()
    assert numpy.abs(to_host(of_regression(grads)["W"])).sum(axis=0).min() > 1e-3


# Mistakes.

def lose_the_path_through_theta(patch):
    patch.setattr(parts.Dense, "backward", lambda self, dy, cache, backward=parts.Dense.backward, **options:
                  tuple(a if k else 0 * a for k, a in enumerate(backward(self, dy, cache, **options))))


def lose_the_sampled_paths(patch):
    backward = parts.sample_backward
    patch.setattr(parts, "sample_backward", lambda dV, cache, **options: (0 * (r := backward(dV, cache, **options))[0],
                                                                          r[1]))


def keep_one_of_the_sampled_paths(patch):
    backward, calls = parts.sample_backward, []

    def only_the_first(dV, cache, **options):
        dU, dgrid = backward(dV, cache, **options)
        calls.append(1)
        return dU * (len(calls) % 3 == 1), dgrid

    patch.setattr(parts, "sample_backward", only_the_first)


def take_the_scale_for_a_shift(patch):
    attention = parts.ATTENTION
    patch.setattr(parts, "ATTENTION", attention._replace(
        backward=lambda dgrid, cache: attention.backward(dgrid, cache)[:, [2, 0, 1]]))


def swap_x_and_y(patch):
    attention = parts.ATTENTION
    patch.setattr(parts, "ATTENTION", attention._replace(
        backward=lambda dgrid, cache: attention.backward(dgrid, cache)[:, [0, 2, 1]]))


@pytest.mark.parametrize("plant", [lose_the_path_through_theta, lose_the_sampled_paths, keep_one_of_the_sampled_paths,
                                   take_the_scale_for_a_shift, swap_x_and_y])
def test_mistakes_are_caught(plant, monkeypatch):
    gradients(numpy)
    plant(monkeypatch)
    with pytest.raises(AssertionError, match="backward gives"):
        gradients(numpy)


# What shows them.

def test_looks_at_each_part(xp):
    net = Sequential(network(), Dense(5))
    params, U = start(net, IMAGE, xp, noise=0.2)
    logits, seen = looks(net, params, U)
    same(logits, net.forward(params, U)[0])
    assert len(seen) == 3
    _, cache = net.networks["0 PartTransformers"].forward(params["0 PartTransformers"], U)
    for i, look in enumerate(seen):
        same(look.U, U)
        same(look.theta[:, 0], xp.full(2, 0.5))
        same(look.theta[:, 1:], cache.t[:, 2 * i:2 * i + 2])
        assert look.transformer.transform == "attention" and look.transformer.align_corners
        # Eq. (2) at the corners of the crop, whose pixels are 6 wide and 4 high: s (-1, -1) + t, s (1, 1) + t
        same(look.grid[:, :, 0, 0], look.theta[:, 1:] - 0.5)
        same(look.grid[:, :, 3, 5], look.theta[:, 1:] + 0.5)
        same(look.V, parts.sample_forward(U, look.grid)[0])


# Structure, and what is refused.

def test_a_branch_has_parameters_for_each_part():
    params, shape = network().init(numpy.random.default_rng(0), IMAGE)
    assert shape == (12,)
    assert list(params) == ["localisation", "part 1", "part 2", "part 3"]
    weights = [params[f"part {i}"]["0 Conv2D"]["W"] for i in (1, 2, 3)]
    assert (weights[0] != weights[1]).all() and (weights[1] != weights[2]).all()


def test_dtype_stays(xp):
    net = network()
    params, U = start(net, IMAGE, xp, dtype="float32")
    y, cache = net.forward(params, U)
    dU, grads = net.backward(y, cache)
    assert y.dtype == dU.dtype == of_regression(grads)["W"].dtype == grads["part 2"]["0 Conv2D"]["W"].dtype == "float32"


@pytest.mark.parametrize("options, sentence", [
    ({"number": 0}, "parts must be a positive whole number, not 0"),
    ({"number": 2.0}, "parts must be a positive whole number, not 2.0"),
    ({"scale": 0}, "scale must be a finite number, more than 0, not 0"),
    ({"scale": 1.5}, "scale must be at most 1, the whole image, not 1.5"),
    ({"size": 4}, "size must be 2 positive whole numbers, not 4"),
])
def test_refused(options, sentence):
    with raises(ValueError, sentence):
        network(**options)


def test_a_branch_must_give_vectors():
    with raises(ValueError, "branch must give vectors (B, D), for which put Flatten last; its output is "
                            "(B, (3, 5, 3))"):
        network(branch=Conv2D(3, 2)).init(numpy.random.default_rng(0), IMAGE)


def test_a_part_is_of_an_image():
    with raises(ValueError, "PartTransformers takes images (H, W, C); its input here is (7,)"):
        network().init(numpy.random.default_rng(0), (7,))
