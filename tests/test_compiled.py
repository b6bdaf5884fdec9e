"""cuda/host.py: the kernels compiled for the CPU, when they stand in for a pair, and what happens where they cannot.

That each kernel gives what its pair gives is tested with those for the GPU: see host_numpy in cuda_shim.py.
"""

import ctypes
import subprocess
import sys
import threading
import warnings

import numpy
import pytest
from checks_of_cuda import TOLERANCE, equal, sampler_case

from benchmarks import machine, sampler, table, timing
from stn_scratch import SGD, build_model, cuda, train_step
from stn_scratch.__main__ import main
from stn_scratch.cuda import host, launch, switches
from stn_scratch.parameters import leaves
from stn_scratch.sampling import sample_backward, sample_forward
from stn_scratch.sampling.bilinear import BilinearCache
from stn_scratch.training.parallel import sharded

needs_compiler = pytest.mark.skipif(host.compiler() is None, reason="no C++ compiler here")
SENTENCE = "^the compiled kernels are off, and plain NumPy runs instead: "
SMALL = """
template <typename T, typename I>
__global__ void twice(const T* x, T* y, I count) {
    I t = thread_number<I>();
    if (t < count) y[t] = 2 * x[t];
}
"""


def twice(folder, text=SMALL):
    code = launch.text("relu.cu") + text
    return host.HostModule(code=code, name_expressions=["twice<float, int>"], folder=folder).get_function(
        "twice<float, int>")


def check_twice(kernel, n=1000):
    x, y = numpy.arange(n, dtype="float32"), numpy.zeros(n, "float32")
    kernel(n, n, (x, y, n))
    numpy.testing.assert_array_equal(y, 2 * x)


@pytest.fixture
def anew(monkeypatch, tmp_path):
    """An empty cache, and nothing compiled yet in this process."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(switches._switches, "compiled", True)
    caches = launch.works, launch._module, launch._kernel
    for function in caches:
        function.cache_clear()
    yield tmp_path / "stn_scratch" / "compiled"
    for function in caches:
        function.cache_clear()


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
    for where, C in (("generic", 1), ("outside", 3), ("border", 32), ("lattice", 2), ("odd", 1)):
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
    for C in (1, 2, 3, 4, 33):
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


# Compilation.

@needs_compiler
@pytest.mark.parametrize("number", [2, 4])
def test_a_wrong_number_of_arguments(tmp_path, number):
    x = numpy.zeros(3, "float32")
    with pytest.raises(TypeError, match=f"^twice<float, int> takes 3 arguments, not {number}$"):
        twice(tmp_path)(3, 3, [x, x, 3, 3][:number])


@needs_compiler
def test_a_library_is_kept_and_used_again(tmp_path, monkeypatch):
    check_twice(twice(tmp_path))
    kept, = tmp_path.iterdir()
    monkeypatch.setattr(host.os, "replace", None)  # nothing is made
    check_twice(twice(tmp_path))
    monkeypatch.undo()
    check_twice(twice(tmp_path, SMALL + "// another text"))
    assert kept in tmp_path.iterdir() and len(list(tmp_path.iterdir())) == 2


@needs_compiler
def test_another_cpu_or_compiler_has_its_own_library(tmp_path, monkeypatch):
    twice(tmp_path)
    run = host._run
    monkeypatch.setattr(host, "_run", lambda *arguments: run(*arguments) + "-march=another")
    twice(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


@needs_compiler
def test_a_broken_library_is_made_again(tmp_path):
    twice(tmp_path)
    kept, = tmp_path.iterdir()
    kept.unlink()  # another file: the library in use stays as it is
    kept.write_bytes(b"not a library")
    check_twice(twice(tmp_path))
    assert ctypes.CDLL(str(kept)).kernel_0


PROCESS = """
import pathlib, sys
sys.path.insert(0, sys.argv[1])
from test_compiled import check_twice, twice
check_twice(twice(pathlib.Path(sys.argv[2])))
"""


@needs_compiler
def test_processes_that_compile_at_once(tmp_path):
    folder = str(host.Path(__file__).parent)
    running = [subprocess.Popen([sys.executable, "-c", PROCESS, folder, str(tmp_path)]) for _ in range(2)]
    assert [process.wait(timeout=120) for process in running] == [0, 0]
    assert [path.suffix for path in tmp_path.iterdir()] == [".so"]


@needs_compiler
def test_threads_that_ask_at_once_compile_once(tmp_path, monkeypatch):
    run, runs = host._run, []
    monkeypatch.setattr(host, "_run", lambda *arguments: runs.append("-o" in arguments) or run(*arguments))
    threads = [threading.Thread(target=lambda: check_twice(twice(tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(runs) == 1 and len(runs) == 5


# Where it fails, one sentence is said, once, and the pairs go on.

def no_compiler(monkeypatch, folder):
    monkeypatch.setattr(host, "compiler", lambda: None)
    return r"no C\+\+ compiler \(g\+\+, clang\+\+, c\+\+\) was found$"


def text_that_does_not_compile(monkeypatch, folder):
    monkeypatch.setattr(launch, "text", lambda file: "__global__ void relu_backward(T;\n")
    monkeypatch.setattr(host, "exports", lambda code, expressions: "")
    return ".*error"


def folder_that_cannot_be_written(monkeypatch, folder):
    folder.parent.mkdir()
    folder.write_text("a file")
    return ".*File exists"


def compiler_that_takes_too_long(monkeypatch, folder):
    monkeypatch.setattr(host, "PATIENCE", 1e-3)
    return r".* took more than 0\.001 seconds$"


@needs_compiler
@pytest.mark.parametrize("wrong", [no_compiler, text_that_does_not_compile, folder_that_cannot_be_written,
                                   compiler_that_takes_too_long], ids=lambda wrong: wrong.__name__)
def test_numpy_goes_on(anew, monkeypatch, capsys, wrong):
    reason = wrong(monkeypatch, anew)
    U, grid, _ = sampler_case("generic", 2, "float32", True)
    with pytest.warns(UserWarning, match=SENTENCE + reason) as said:
        _, cache = sample_forward(U, grid)
    assert isinstance(cache, BilinearCache) and len(said) == 1 and "\n" not in str(said[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(sample_forward(U, grid)[1], BilinearCache)


# What `info` says.

def said_by_info(capsys):
    assert main(["info"]) == 0
    return next(line for line in capsys.readouterr().out.splitlines() if line.startswith("compiled kernels: "))


@needs_compiler
def test_info(monkeypatch, capsys):
    monkeypatch.setitem(switches._switches, "compiled", False)
    off = f"compiled kernels: off (STN_COMPILED=1 turns them on), {host.compiler()}"
    assert said_by_info(capsys) == off
    with cuda.compiled():
        assert said_by_info(capsys) == f"compiled kernels: on, {host.compiler()}"


def test_info_where_it_fails(anew, monkeypatch, capsys):
    no_compiler(monkeypatch, anew)
    assert said_by_info(capsys) == "compiled kernels: off, no C++ compiler (g++, clang++, c++) was found"
    with cuda.compiled(False):
        assert said_by_info(capsys).endswith(", no C++ compiler found")


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
