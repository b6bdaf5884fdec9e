"""Products of a long matrix and a small one: the numbers, and how many rows go at a time."""

import numpy
import pytest
from strict import strict

from stn_scratch.backend import ARRAY_MODULES, to_host
from stn_scratch.layers import products
from stn_scratch.layers.products import column_sums, matmul_in_pieces


class Seen(numpy.ndarray):
    """An array that notes what of it is multiplied, by its shape."""

    shapes = ()

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        Seen.shapes += (inputs[0].shape,)
        return getattr(ufunc, method)(*map(numpy.asarray, inputs), **options)


@pytest.mark.parametrize("M, K, N, shapes", [
    (1200, 50, 40, [(2, 500, 50), (200, 50)]),
    (1000, 50, 40, [(2, 500, 50), (0, 50)]),
    (300, 50, 40, [(0, 500, 50), (300, 50)]),
    (300, 100, 100, [(3, 100, 100), (0, 100)]),
    (300, 100, 101, [(300, 100)]),  # 99 rows would make a piece
    (300, 1000, 1001, [(300, 1000)]),  # not even one
])
def test_how_many_rows_go_at_a_time(monkeypatch, M, K, N, shapes):
    monkeypatch.setitem(ARRAY_MODULES, Seen, numpy)
    monkeypatch.setattr(Seen, "shapes", ())
    rng = numpy.random.default_rng(0)
    a, b = rng.normal(size=(M, K)), rng.normal(size=(K, N))
    y = matmul_in_pieces(a.view(Seen), b)
    assert list(Seen.shapes) == shapes
    numpy.testing.assert_allclose(y, a @ b, rtol=0, atol=1e-11)


@pytest.mark.parametrize("xp", [numpy, strict], ids=["numpy", "strict"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("M", [0, 7, 12])
def test_into_what_is_given(monkeypatch, xp, dtype, order, M):
    monkeypatch.setattr(products, "SMALL", 4 * 2 * 3)
    monkeypatch.setattr(products, "FEWEST_ROWS", 4)
    a = numpy.arange(M * 2, dtype=dtype).reshape(M, 2, order=order)
    b, out = numpy.arange(6, dtype=dtype).reshape(2, 3), xp.zeros((M, 3), dtype=dtype)
    actual = matmul_in_pieces(xp.asarray(a), xp.asarray(b), out=out)
    assert actual is out or xp is strict
    numpy.testing.assert_array_equal(to_host(out), a @ b)
    alone = to_host(matmul_in_pieces(xp.asarray(a), xp.asarray(b)))
    numpy.testing.assert_array_equal(alone, a @ b)
    assert alone.dtype == dtype


@pytest.mark.parametrize("xp", [numpy, strict], ids=["numpy", "strict"])
@pytest.mark.parametrize("shape", [(0, 3), (5, 3), (4, 5, 3)])
def test_the_sum_of_all_rows(xp, shape):
    a = numpy.arange(numpy.prod(shape), dtype="float32").reshape(shape)
    sums = to_host(column_sums(xp.asarray(a)))
    numpy.testing.assert_array_equal(sums, a.reshape(-1, 3).sum(axis=0))
    assert sums.dtype == "float32"
