"""Nested parameters as views into one flat buffer."""

import copy
import pickle
import re

import numpy
import pytest
from strict import strict

from stn_scratch.backend import to_host
from stn_scratch.parameters import Parameters, leaves, pack, unpack

PATHS = [("b",), ("net", "W"), ("net", "deep", "c"), ("a",)]  # the order of insertion, not of the alphabet


def tree(xp, dtype="float64"):
    numbers = numpy.arange(1, 13)
    shapes = {"b": (2,), "W": (2, 3), "c": (1, 1, 3), "a": (1,)}
    arrays, begin = {}, 0
    for key, shape in shapes.items():
        size = int(numpy.prod(shape))
        arrays[key] = xp.asarray(numbers[begin:begin + size].reshape(shape), dtype=dtype)
        begin += size
    b, W, c, a = arrays.values()
    return {"b": b, "net": {"W": W, "empty": {}, "deep": {"c": c}}, "a": a}


def test_leaves_in_order(xp):
    given = tree(xp)
    assert [path for path, _ in leaves(given)] == PATHS
    assert [a for _, a in leaves(given)][3] is given["a"]
    assert list(leaves({})) == []


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pack_keeps_order_shapes_and_values(xp, dtype):
    given = tree(xp, dtype)
    packed = pack(given)
    assert to_host(packed.flat).tolist() == list(range(1, 13)) and packed.flat.dtype == dtype
    assert isinstance(packed, Parameters) and isinstance(packed["net"]["deep"], Parameters)
    for (path, a), (packed_path, b) in zip(leaves(given), leaves(packed), strict=True):
        assert path == packed_path and a.dtype == b.dtype
        numpy.testing.assert_array_equal(to_host(a), to_host(b))


def test_leaves_and_flat_share_memory(xp):
    packed = pack(tree(xp))
    packed.flat[3] = 50
    packed["net"]["deep"]["c"][0, 0, 1] = 60
    packed["net"].flat[0] = 70
    assert to_host(packed["net"]["W"]).tolist() == [[70, 50, 5], [6, 7, 8]]
    assert to_host(packed.flat).tolist() == [1, 2, 70, 50, 5, 6, 7, 8, 9, 60, 11, 12]
    assert to_host(packed["net"].flat).tolist() == [70, 50, 5, 6, 7, 8, 9, 60, 11]
    assert to_host(packed["net"]["deep"].flat).tolist() == [9, 60, 11]


@pytest.mark.parametrize("copied", [copy.deepcopy, copy.copy, lambda params: pickle.loads(pickle.dumps(params))])
def test_a_copy_is_whole(copied):
    params = pack({"a": {"W": numpy.arange(6.0).reshape(2, 3), "none": {}}, "b": numpy.ones(2)})
    other = copied(params)
    other.flat += 1
    assert isinstance(other["a"], Parameters)
    numpy.testing.assert_array_equal(other["a"]["W"], params["a"]["W"] + 1)
    numpy.testing.assert_array_equal(other["a"].flat, params["a"].flat + 1)
    numpy.testing.assert_array_equal(params.flat, [0, 1, 2, 3, 4, 5, 1, 1])


def test_pack_copies(xp):
    given = tree(xp)
    packed = pack(given)
    packed.flat[...] = 0
    again = pack(packed)
    again.flat[...] = 1
    assert to_host(given["b"]).tolist() == [1, 2] and not to_host(packed.flat).any()


def test_pack_takes_any_memory_layout(xp):
    W = xp.asarray(numpy.arange(6.0).reshape(2, 3))
    assert to_host(pack({"W": W.T, "x": W[:, ::2]}).flat).tolist() == [0, 3, 1, 4, 2, 5, 0, 2, 3, 5]


def test_unpack_is_a_view_of_the_given_buffer(xp):
    flat = xp.asarray(numpy.arange(12.0))
    params = unpack(flat, tree(xp))
    flat[11] = -1
    params["b"][0] = -2
    assert to_host(params["a"]).tolist() == [-1] and to_host(flat).tolist() == [-2, *range(1, 11), -1]
    numpy.testing.assert_array_equal(to_host(params.flat), to_host(flat))
    assert [path for path, _ in leaves(params)] == PATHS


@pytest.mark.parametrize("empty", [{}, {"0 ReLU": {}}, {"0 Sequential": {"0 ReLU": {}, "1 Flatten": {}}}])
def test_empty_trees_keep_their_keys(empty):
    assert pack(empty) == empty
    assert list(leaves(pack(empty))) == []
    assert unpack(numpy.zeros(0), empty) == empty


@pytest.mark.parametrize("shape", [(11,), (13,), (12, 1), ()])
def test_unpack_refuses_another_size(xp, shape):
    with pytest.raises(ValueError, match=re.escape(f"flat must have shape (12,), not {shape}")):
        unpack(xp.zeros(shape), tree(xp))


def test_pack_refuses_two_devices():
    with pytest.raises(TypeError, match="host and device arrays meet here"):
        pack({"W": numpy.zeros(3), "b": strict.zeros(2)})


def test_pack_refuses_what_is_no_array():
    with pytest.raises(TypeError, match="expected a NumPy or CuPy array, got float"):
        pack({"W": 1.0})
