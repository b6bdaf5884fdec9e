"""cuda/host.py: how kernels are compiled for the CPU and kept, and what happens where they cannot be."""

import ctypes
import subprocess
import sys
import threading
import warnings

import numpy
import pytest
from checks_of_cuda import sampler_case

from stn_scratch import cuda
from stn_scratch.__main__ import main
from stn_scratch.cuda import host, launch, switches
from stn_scratch.sampling import sample_forward
from stn_scratch.sampling.bilinear import BilinearCache

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
from test_compilation import check_twice, twice
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
        with cuda.fused(False):
            assert said_by_info(capsys) == (
                "compiled kernels: off, as all fused kernels are: by STN_FUSED=0, or as a GPU's compiler failed")


def test_info_where_it_fails(anew, monkeypatch, capsys):
    no_compiler(monkeypatch, anew)
    assert said_by_info(capsys) == "compiled kernels: off, no C++ compiler (g++, clang++, c++) was found"
    with cuda.compiled(False):
        assert said_by_info(capsys).endswith(", no C++ compiler found")
