"""The CUDA kernels on a machine without a GPU: their text, compiled by the host's C++ compiler behind cuda_shim.h.

`HostModule` plays `cupy.RawModule`, and `host_cuda` a CuPy that has it: the strict stand-in plus kernels. So the very
launchers run that a GPU runs. Where a driver would do harm silently, this raises: an argument of another type than the
kernel's, an output that is not contiguous, a write beside an array.
"""

import contextlib
import ctypes
import os
import pathlib
import shutil
import subprocess
import tempfile
from functools import cache

import numpy
import pytest
from strict import DeviceArray, strict

from stn_scratch.backend import ARRAY_MODULES, gpu_available

COMPILER = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
# as --fmad=false on the GPU: no product and sum in one rounding
FLAGS = "-std=c++17 -O1 -fPIC -shared -ffp-contract=off -Wall -Wextra -Werror -Wno-unused-function".split()
SHIM = pathlib.Path(__file__).with_name("cuda_shim.h")
FOLDER = tempfile.TemporaryDirectory(prefix="cuda_shim_")
GUARD = 64  # numbers in front of each array and behind it

ORDERS = {
    "forward": numpy.arange,
    "reversed": lambda n: numpy.arange(n)[::-1].copy(),
    "shuffled": numpy.random.default_rng(8).permutation,
}
order = ["forward"]  # in which the threads run; the last one holds
launched = []  # every kernel that ran on the host: "im2col<float, int>"


@contextlib.contextmanager
def threads_in(name):
    """Within it, the threads of every kernel run in the order of this name."""
    order.append(name)
    try:
        yield
    finally:
        order.pop()


@cache
def compiled(code, expressions):
    """The text as a shared library, with `describe_k` and `launch_k` for expression k."""
    exports = [f'extern "C" void describe_{k}(char* letters) {{ describe(&{name}, letters); }}\n'
               f'extern "C" void launch_{k}(unsigned grid, unsigned block, const long long* order, void** arguments)'
               f" {{ launch(&{name}, grid, block, order, arguments); }}\n" for k, name in enumerate(expressions)]
    with tempfile.NamedTemporaryFile("w", suffix=".cpp", dir=FOLDER.name, delete=False) as file:
        file.write("\n".join([SHIM.read_text(), code, *exports]))
    result = subprocess.run([COMPILER, *FLAGS, file.name, "-o", file.name + ".so"], capture_output=True, text=True,
                            check=False, env={**os.environ, "LC_ALL": "C"})
    assert result.returncode == 0, result.stderr[:4000]
    return ctypes.CDLL(file.name + ".so")


class HostModule:
    """`cupy.RawModule`, as far as the launchers use it."""

    def __init__(self, *, code, options, name_expressions):
        assert "--fmad=false" in options
        self.library = compiled(code, tuple(name_expressions))
        self.names = list(name_expressions)

    def get_function(self, name):
        return HostKernel(self.library, self.names.index(name), name)


class HostKernel:
    def __init__(self, library, k, name):
        letters = ctypes.create_string_buffer(64)
        library[f"describe_{k}"](letters)
        self.letters, self.launch, self.name = letters.value.decode(), library[f"launch_{k}"], name

    def __call__(self, grid, block, arguments):
        assert len(grid) == len(block) == 1 and grid[0] > 0, "CUDA refuses an empty grid"
        assert len(arguments) == len(self.letters), f"{self.name} takes {len(self.letters)} arguments"
        held = [guarded(*pair) for pair in zip(arguments, self.letters, strict=True)]
        pointers = (ctypes.c_void_p * len(held))(*(h.address for h in held))
        threads = ORDERS[order[-1]](grid[0] * block[0]).astype("int64")
        self.launch(ctypes.c_uint(grid[0]), ctypes.c_uint(block[0]), ctypes.c_void_p(threads.ctypes.data), pointers)
        for k, h in enumerate(held):
            h.put_back(f"argument {k} of {self.name}")
        launched.append(self.name)


class GuardedArray:
    """A copy of an array between two strips of 0xFF: NaN, if they are read; and a write into them is seen."""

    def __init__(self, a):
        self.a, self.before, edge = a, a.tobytes(), GUARD * a.itemsize
        self.bytes = numpy.full(a.nbytes + 2 * edge, 0xFF, dtype="uint8")
        self.inside = slice(edge, edge + a.nbytes)
        self.bytes[self.inside] = numpy.frombuffer(self.before, dtype="uint8")
        self.pointer = ctypes.c_void_p(self.bytes.ctypes.data + edge)
        self.address = ctypes.addressof(self.pointer)

    def put_back(self, name):
        strips = self.bytes[:self.inside.start], self.bytes[self.inside.stop:]
        assert all((strip == 0xFF).all() for strip in strips), f"{name}: a write beside the array"
        after = self.bytes[self.inside]
        if after.tobytes() != self.before:  # an array that is passed twice may have been written through the other
            self.a[...] = after.view(self.a.dtype).reshape(self.a.shape)


class Value:
    def __init__(self, value):
        self.bytes = numpy.atleast_1d(value).copy()
        self.address = self.bytes.ctypes.data

    def put_back(self, name):
        pass


def guarded(argument, letter):
    if isinstance(argument, DeviceArray):
        a = argument._a
        assert a.flags.c_contiguous, "a kernel takes an array whose numbers lie in order"
        char = "q" if a.dtype == "int64" else "b" if a.dtype == "uint8" else a.dtype.char
        assert char == letter, f"a pointer to {letter!r} was given {a.dtype}"
        return GuardedArray(a)
    assert isinstance(argument, numpy.generic), "a number needs a type: CuPy passes a Python int as 8 bytes"
    char = "Q" if argument.dtype == "int64" else argument.dtype.char.upper()
    assert char == letter, f"a value of type {letter!r} was given {argument.dtype}"
    return Value(argument)


class HostCuda:
    """The strict stand-in for CuPy, with `RawModule`. A new one compiles everything anew."""

    __name__ = "host_cuda"

    def __init__(self):
        vars(self).update(vars(strict), RawModule=HostModule)


host_cuda = HostCuda()
DEVICES = [host_cuda]
if gpu_available():
    import cupy

    DEVICES.append(pytest.param(cupy, marks=pytest.mark.gpu))


def on(xp, monkeypatch):
    """xp, one of DEVICES or another HostCuda, with its arrays handed to the kernels as long as the test runs."""
    if isinstance(xp, HostCuda):
        if COMPILER is None:
            pytest.skip("no C++ compiler (c++, g++ or clang++) here, and no GPU")
        monkeypatch.setitem(ARRAY_MODULES, DeviceArray, xp)
    launched.clear()
    return xp
