"""The kernels compiled for the CPU: when they stand in for a pair, and the host's own forms of what the texts use.

That each kernel gives what its pair gives is tested with those for the GPU: see host_numpy in cuda_shim.py.
"""

import numpy
import pytest
from checks_of_cuda import TOLERANCE, equal, sampler_case

from benchmarks import machine, sampler, table, timing
from stn_scratch import SGD, build_model, cuda, train_step
from stn_scratch.cuda import host, launch
from stn_scratch.parameters import leaves
from stn_scratch.sampling import sample_backward, sample_forward
from stn_scratch.sampling.bilinear import BilinearCache
from stn_scratch.training.parallel import sharded

needs_compiler = pytest.mark.skipif(host.compiler() is None, reason="no C++ compiler here")


# When they stand in.

@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_available(dtype):
    a = numpy.ones(3, dtype)
    assert not cuda.available(a, cpu=True)
    with cuda.compiled():
        assert cuda.available(a, a, cpu=True)
        assert not cuda.available(a), "only kernels that beat NumPy"
        with cuda.fused(False):
            assert not cuda.available(a, cpu=True)


@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_sampler_runs_compiled_and_is_the_pair(dtype):
    for where, C in (("generic", 1), ("generic", 4), ("outside", 3), ("outside", 5), ("border", 32), ("lattice", 2),
                     ("odd", 1)):
        U, grid, dV = sampler_case(where, C, dtype, True)
        V, plain = sample_forward(U, grid)
        assert isinstance(plain, BilinearCache)
        with cuda.compiled():
            V_compiled, cache = sample_forward(U, grid)
        assert isinstance(cache, cuda.SampleCache)
        equal(f"V {where}", V_compiled, V, TOLERANCE[dtype])
        for name, a, b in zip(("dU", "dgrid"), sample_backward(dV, cache), sample_backward(dV, plain), strict=True):
            equal(f"{name} {where}", a, b, TOLERANCE[dtype])


def train(compiled, threads):
    """Losses of 20 float32 steps, and by how much they changed the parameters.

    The steps are small: a rounding that decides a near-tie of a pooling window otherwise must not be amplified.
    """
    rng = numpy.random.default_rng(0)
    network, params = build_model("mst-cnn", in_shape=(28, 30, 1), parameters=20_000)
    for path, p in leaves(params):
        if path[-2:] == ("regression", "b"):  # off the identity, whose samples stand on the pixels
            p += numpy.array([0.031, 0.053, 0.012, -0.054, 0.023, 0.031], dtype="float32")
    begin, optimiser, losses = params.flat.copy(), SGD(lr=1e-3, localisation_factor=0.1, clip_norm=1.0), []
    with cuda.compiled(compiled), sharded(threads=threads, size=8) as gradient:
        for _ in range(20):
            x, labels = rng.random((32, 28, 30, 1), dtype="float32"), rng.integers(0, 10, 32)
            losses.append(train_step(network, params, optimiser, x, labels, gradient=gradient))
    return numpy.array(losses), params.flat - begin


@needs_compiler
def test_twenty_steps_agree_with_numpy():
    losses, change = train(False, 2)
    losses_compiled, change_compiled = train(True, 2)
    equal("losses", losses_compiled, losses, 1e-6)
    equal("change of the parameters", change_compiled, change, 1e-5)
    # shards of one size: what the threads do at once cannot be seen in a single bit
    losses_alone, change_alone = train(True, 1)
    numpy.testing.assert_array_equal(losses_compiled, losses_alone)
    numpy.testing.assert_array_equal(change_compiled, change_alone)


# The host's own forms of what the texts use.

@needs_compiler
def test_quotient_is_exact(tmp_path):
    text = """
template <typename T, typename I>
__global__ void divide(const int* a, const int* b, int* q, I count) {
    I t = thread_number<I>();
    if (t < count) q[t] = quotient(a[t], b[t]);
}
"""
    kernel = host.HostModule(code=launch.text("relu.cu") + text, name_expressions=["divide<float, int>"],
                             folder=tmp_path).get_function("divide<float, int>")
    rng, most = numpy.random.default_rng(0), 2**31 - 1
    b = numpy.concatenate([rng.integers(1, 100, 20_000), rng.integers(1, most, 20_000), [1, 2, 3, most - 1, most]])
    multiple = rng.integers(0, most // b + 1) * b
    for a in (multiple, multiple - 1, rng.integers(0, most, len(b)), numpy.full(len(b), most)):
        a, b = numpy.maximum(a, 0).astype("int32"), b.astype("int32")
        q = numpy.zeros_like(a)
        kernel(len(a), len(a), (a, b, q, len(a)))
        numpy.testing.assert_array_equal(q, a // b)


@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "float64"])  # of one, threads run side by side
def test_no_share_is_lost_where_all_threads_add_to_one_number(dtype):
    for C in (1, 2, 3, 4, 5, 33):
        U, dV = numpy.zeros((2, 2, 3, C), dtype), numpy.ones((2, 37, 29, C), dtype)
        with cuda.compiled():
            _, cache = sample_forward(U, numpy.full((2, 2, 37, 29), -1.0, dtype))
        dU = numpy.zeros_like(U)
        dU[:, 0, 0] = 37 * 29
        numpy.testing.assert_array_equal(sample_backward(dV, cache)[0], dU)


@needs_compiler
def test_many_rounds_of_threads_side_by_side():
    """Images of 899 pixels: fourteen rounds of 64 and one that is not full."""
    rng = numpy.random.default_rng(5)
    U, dV = rng.random((3, 29, 31, 1), dtype="float32"), rng.random((3, 29, 31, 1), dtype="float32")
    grid = rng.uniform(-1.2, 1.2, (3, 2, 29, 31)).astype("float32")
    V, plain = sample_forward(U, grid)
    with cuda.compiled():
        V_compiled, cache = sample_forward(U, grid, align_corners=numpy.True_)
    expected, given = (V, *sample_backward(dV, plain)), (V_compiled, *sample_backward(dV, cache))
    for name, a, b in zip(("V", "dU", "dgrid"), given, expected, strict=True):
        equal(name, a, b, TOLERANCE["float32"])


# The benchmark.

def test_ratios_of_both():
    row = {"case": "a case", **timing.with_ratio("ms", {"ours": 4.0, timing.COMPILED: 1.0, "PyTorch": 2.0})}
    assert row["ratio"] == {"PyTorch": 2} and row["compiled"] == {"PyTorch": 0.5}
    assert table.line(row).endswith("4   ours, compiled 1   PyTorch 2 (2.00, compiled 0.50)")


@needs_compiler
def test_the_samplers_that_are_timed():
    with machine.cpu(2) as cpu:
        timed = sampler.contenders(cpu, (timing.COMPILED,), (3, 6, 7, 2), (5, 4), "float32")
        kinds = {name: [isinstance(cache, cuda.SampleCache) for cache in caches(made)] for name, made in timed.items()}
    assert kinds == {"ours": [False, False], timing.COMPILED: [True, True]}


def caches(made):
    made.share = lambda work, U, grid, dV: [sample_forward(U, grid)[1] for _ in range(2)]
    return made()
