"""The stand-in for CuPy is as strict as it says: each refusal, each shared view, each name."""

import operator

import numpy
import pytest
from strict import DeviceArray, strict


@pytest.fixture
def host():
    return numpy.arange(12, dtype=numpy.float32).reshape(3, 4)


@pytest.fixture
def dev(host):
    return strict.asarray(host)


def equal(a, expected):
    numpy.testing.assert_array_equal(a.get(), expected, strict=True)


# Moves between host and device are explicit.

def test_moves_copy(host, dev):
    host[0, 0] = 99
    assert float(dev[0, 0]) == 0
    dev.get()[0, 0] = 99
    assert float(dev[0, 0]) == 0
    equal(strict.asarray([1.5, 2]), numpy.array([1.5, 2]))
    assert strict.asarray(dev) is dev
    assert strict.asarray(dev, dtype="float64").dtype == "float64"
    copy = strict.array(dev)
    copy += 1
    assert float(dev[0, 0]) == 0
    assert type(strict.asnumpy(dev)) is numpy.ndarray


@pytest.mark.parametrize("convert", [
    numpy.asarray, numpy.array, numpy.exp, numpy.sum, numpy.stack, numpy.linalg.norm, list, lambda a: numpy.zeros(3)[a],
    lambda a: operator.setitem(numpy.zeros((3, 4)), ..., a), lambda a: operator.iadd(numpy.zeros((3, 4)), a),
], ids=["asarray", "array", "exp", "sum", "stack", "norm", "list of rows", "index", "assign", "add in place"])
def test_numpy_may_not_look_inside(convert, dev):
    if convert is list:
        assert [type(row) for row in convert(dev)] == [DeviceArray] * 3
        return
    with pytest.raises(TypeError):
        convert(dev)


@pytest.mark.parametrize("f", [
    operator.add, operator.sub, operator.mul, operator.truediv, operator.pow, operator.matmul, operator.eq, operator.lt,
    operator.iadd, operator.imul, strict.maximum, strict.dot, strict.copyto, strict.take,
    lambda a, b: strict.where(a > 0, a, b), lambda a, b: strict.einsum("ij,ij->i", a, b),
    lambda a, b: strict.stack([a, b]), lambda a, b: strict.sum(a, out=b), lambda a, b: a.dot(b),
    lambda a, b: operator.setitem(a, 0, b), lambda a, b: strict.add.at(a, 0, b),
    lambda a, b: strict.zeros(3)[b],
])
@pytest.mark.parametrize("other", [numpy.ones((3, 4), dtype=numpy.float32), numpy.array(1), [1, 2, 3, 4]],
                         ids=["host array", "host 0-d array", "list"])
def test_host_arrays_and_lists_are_refused(f, other, dev):
    with pytest.raises(TypeError):
        f(dev, other)


@pytest.mark.parametrize("f", [operator.add, operator.mul, operator.matmul, operator.eq, operator.ge, operator.iadd])
def test_host_array_on_the_left_is_refused(f, host, dev):
    with pytest.raises(TypeError):
        f(host, dev)


@pytest.mark.parametrize("name", ["exp", "sum", "zeros_like", "empty_like", "ravel", "moveaxis", "nonzero"])
def test_functions_refuse_a_host_array(name, host):
    with pytest.raises(TypeError):
        getattr(strict, name)(host, *[0, 1][:2 * (name == "moveaxis")])


@pytest.mark.parametrize("make", [strict.zeros, strict.arange, lambda n: strict.ones((2, n)),
                                  lambda n: strict.zeros(6).reshape(n, 2), lambda n: range(n)])
def test_a_size_must_be_a_number_of_the_host(make):
    with pytest.raises(TypeError):
        make(strict.asarray(3))


# Scalars are welcome on either side, with NumPy's promotion.

@pytest.mark.parametrize("scalar", [2, 2.0, True, numpy.float32(2), numpy.float64(2), numpy.int64(2)], ids=repr)
@pytest.mark.parametrize("f", [operator.add, operator.sub, operator.truediv, operator.pow, operator.lt, operator.eq])
def test_scalars(f, scalar, host, dev):
    host, dev = host + 1, dev + 1
    equal(f(dev, scalar), f(host, scalar))
    equal(f(scalar, dev), f(scalar, host))
    equal(strict.maximum(dev, scalar), numpy.maximum(host, scalar))


def test_reductions_and_elements_are_0d_arrays(dev):
    for a in (dev.sum(), strict.mean(dev), dev.max(), dev.argmax(), strict.any(dev), dev[1, 2], dev[0][3], dev.T[1, 2],
              dev.sum() + 1, strict.exp(1.0)):
        assert type(a) is DeviceArray and a.shape == ()
    assert (float(dev[1, 2]), int(dev.argmax()), bool(strict.any(dev)), dev.sum().item()) == (6.0, 11, True, 66.0)
    for convert in (float, int, bool, DeviceArray.item):
        with pytest.raises(ValueError):
            convert(dev)


# Memory is shared as NumPy shares it.

@pytest.mark.parametrize("view", [
    lambda a: a[1:], lambda a: a[1, 2], lambda a: a[..., None], lambda a: a.T, lambda a: a.reshape(12),
    lambda a: a.ravel(), lambda a: strict.moveaxis(a, 0, 1), lambda a: a.swapaxes(0, 1), lambda a: a.view(),
    lambda a: strict.lib.stride_tricks.as_strided(a, (2, 2), (16, 4)), iter, lambda a: a.astype("float32", copy=False),
])
def test_views_share_memory(view, dev):
    before = dev.copy()
    v = view(dev)
    v = next(v) if view is iter else v
    v += 100
    changed = (dev != before).sum()
    assert int(changed) == v.size
    assert v is dev or v.base.shape in (dev.shape, (12,))
    v[...] = 0
    assert int((dev == 0).sum()) >= v.size


@pytest.mark.parametrize("copy", [lambda a: a.copy(), lambda a: a.flatten(), lambda a: a + 0, strict.ascontiguousarray,
                                  lambda a: a[a >= 0], lambda a: a.astype("float32")])
def test_copies_do_not(copy, dev):
    c = copy(dev[:, ::-1])
    c += 100
    assert float(dev.max()) == 11


def test_attributes_and_out(host, dev):
    assert (dev.shape, dev.ndim, dev.size, dev.dtype, dev.itemsize, dev.nbytes, dev.strides, len(dev)) == (
        (3, 4), 2, 12, numpy.float32, 4, 48, (16, 4), 3)
    assert dev.flags.c_contiguous and dev.T.flags.f_contiguous
    out = strict.empty_like(dev)
    assert strict.multiply(dev, 2, out=out) is out
    equal(out, host * 2)
    equal(strict.concatenate([dev, dev], axis=1), numpy.concatenate([host, host], axis=1))
    equal(strict.einsum("ij,kj->ik", dev, dev), host @ host.T)
    assert [a.tolist() for a in map(DeviceArray.get, strict.nonzero(dev > 9))] == [[2, 2], [2, 3]]
    with pytest.raises(TypeError):
        hash(dev)


def test_empty_is_poisoned():
    assert bool(strict.isnan(strict.empty((2, 3))).all())
    assert int(strict.empty(1, dtype="uint8")[0]) == 255


def test_no_warnings(recwarn, dev):
    strict.log(dev - 5) / (dev * 0)
    dev /= 0
    assert not recwarn.list


# Index arrays must stay inside: CuPy wraps.

@pytest.mark.parametrize("bad", [-1, 4])
@pytest.mark.parametrize("use", [
    lambda a, i: a[:, i], lambda a, i: a[..., i], lambda a, i: a[None, :, i], lambda a, i: a[strict.arange(2), i],
    lambda a, i: a[a[:, 0] >= 0, i[:1]], lambda a, i: strict.take(a, i, axis=1), lambda a, i: a.take(i, axis=-1),
    lambda a, i: strict.take_along_axis(a, i[None], axis=1), lambda a, i: strict.add.at(a, (slice(None), i), 1),
    lambda a, i: operator.setitem(a, (slice(None), i), 0), lambda a, i: a[0].take(int(i[0])),
])
def test_index_arrays_out_of_range(use, bad, dev):
    use(dev, strict.asarray([3, 0]))
    with pytest.raises(IndexError, match="CuPy would wrap"):
        use(dev, strict.asarray([bad, 0]))


def test_plain_integers_and_slices_index_as_in_numpy(host, dev):
    equal(dev[-1], host[-1])
    equal(dev[numpy.int64(-1), 1:9], host[-1, 1:9])
    with pytest.raises(IndexError):
        dev[3]


@pytest.mark.parametrize("use", [lambda a, i: a.take(i, mode="clip"), lambda a, i: strict.take(a, i, mode="wrap"),
                                 lambda a, i: strict.sum(a, where=a > 0), lambda a, i: a.max(initial=0),
                                 lambda a, i: strict.add(a, a, where=a > 0)])
def test_arguments_that_cupy_lacks(use, dev):
    with pytest.raises(TypeError):
        use(dev, strict.asarray([0]))


@pytest.mark.parametrize("use", [lambda a: strict.where(True, a, a), lambda a: strict.clip(3.0, a, a),
                                 lambda a: strict.dot(2.0, a)])
def test_the_first_argument_is_an_array(use):
    with pytest.raises(TypeError, match="takes a device array first, not (bool|float)"):
        use(strict.ones(3))


def test_an_index_that_occurs_twice():
    a, twice = strict.zeros(4), strict.asarray([1, 1, 2])
    strict.add.at(a, twice, strict.ones(3))
    equal(a, numpy.array([0.0, 2, 1, 0]))
    with pytest.raises(ValueError, match="occurs twice"):
        a[twice] += 1
    a[twice] = 0
    equal(a, numpy.zeros(4))


def test_add_at_knows_the_dtypes_of_cupy():
    with pytest.raises(TypeError, match="int64"):
        strict.add.at(strict.zeros(3, dtype="int64"), strict.asarray([0]), 1)
    with pytest.raises(AttributeError):
        strict.multiply.at  # noqa: B018


def test_as_strided_stays_inside(dev):
    for shape in [(4, 4), (3, 5)]:
        with pytest.raises(ValueError, match="leaves"):
            strict.lib.stride_tricks.as_strided(dev, shape, (16, 4))


# Casts and dtypes.

@pytest.mark.parametrize("bad", [numpy.nan, numpy.inf, -numpy.inf, -0.5, 1e30])
@pytest.mark.parametrize("cast", [
    lambda a: a.astype(strict.intp), lambda a: strict.asarray(a, dtype="int32"),
    lambda a: operator.setitem(strict.zeros(2, dtype="int32"), ..., a),
    lambda a: strict.add.at(strict.zeros(2, dtype="int32"), strict.arange(2), a), lambda a: (-abs(a)).astype("uint8"),
])
def test_undefined_casts(cast, bad):
    with pytest.raises(ValueError, match="cast of"):
        cast(strict.asarray([bad, 1.0]))


def test_defined_casts():
    equal(strict.asarray([-2.0, 0.0, 2.7]).astype("int32"), numpy.array([-2, 0, 2], dtype=numpy.int32))


@pytest.mark.parametrize("data", [["text"], [None], [{}]])
def test_dtypes_that_cupy_lacks(data):
    with pytest.raises(ValueError, match="no dtype"):
        strict.asarray(data)


# Names.

@pytest.mark.parametrize("name", ["errstate", "random", "vectorize", "testing", "object_", "str_"])
def test_unknown_names(name):
    with pytest.raises(AttributeError, match=f"CuPy has no name {name}, or"):
        getattr(strict, name)


@pytest.mark.parametrize("name", ["put", "__index__", "__array_interface__", "__dlpack__", "__imatmul__"])
def test_unknown_methods(name, dev):
    assert not hasattr(dev, name)


def test_every_name_is_a_name_of_the_other_modules(xp):
    """On a GPU this asks CuPy itself."""
    device_only = {"cuda", "asnumpy", "is_available"} if xp is numpy else set()
    assert {name for name in vars(strict) if not hasattr(xp, name)} == device_only
    public = {name for name in vars(DeviceArray) if not name.startswith("_")}
    assert {name for name in public if not hasattr(xp.ndarray, name)} == ({"get"} if xp is numpy else set())
