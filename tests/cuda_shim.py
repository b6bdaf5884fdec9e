"""The CUDA kernels on a machine without a GPU, in two ways.

`host_cuda` plays a CuPy: the strict stand-in, with a `RawModule` that runs the kernels behind stn_scratch/cuda/host.h,
thread by thread in any order. So the very launchers run that a GPU runs. Where a driver would do harm silently, this
raises: an argument of another type than the kernel's, an output that is not contiguous, a write beside an array.

`host_numpy` is NumPy: its arrays go to the kernels as STN_COMPILED=1 compiles them, in vectors.
"""

import contextlib
import pathlib
import tempfile
import types

import numpy
import pytest
from strict import DeviceArray, strict

from stn_scratch.backend import ARRAY_MODULES, gpu_available
from stn_scratch.cuda import host

# as --fmad=false on the GPU: no product and sum in one rounding
FLAGS = ("-std=c++17", "-O1", "-fPIC", "-shared", "-ffp-contract=off", "-DWHOLE_BLOCKS", "-Wall", "-Wextra", "-Werror",
         "-Wno-unused-function", "-Wno-unknown-pragmas")
FOLDER = tempfile.TemporaryDirectory(prefix="cuda_shim_")
GUARD = 64  # numbers in front of each array and behind it
NUMPY_TYPES = {"float": "float32", "double": "float64", "int": "int32", "long long": "int64", "unsigned char": "uint8"}

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


@contextlib.contextmanager
def as_on_a_cpu():
    """Within it, the launchers do for any array what they do for NumPy's, guarded arrays included."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stn_scratch.cuda.sampler.on_host", lambda array: True)
        yield


class GuardedModule(host.HostModule):
    """`cupy.RawModule`, as far as the launchers use it."""

    def __init__(self, *, code, options, name_expressions):
        assert "--fmad=false" in options
        super().__init__(code=code, name_expressions=name_expressions, flags=FLAGS, folder=pathlib.Path(FOLDER.name))

    def get_function(self, name):
        kernel = super().get_function(name)
        return lambda *arguments: guarded_call(kernel, *arguments)


def guarded_call(kernel, grid, block, arguments):
    assert len(grid) == len(block) == 1 and grid[0] > 0, "CUDA refuses an empty grid"
    assert len(arguments) == len(kernel.parameters), f"{kernel.name} takes {len(kernel.parameters)} arguments"
    held = [guarded(a, kind) for a, (kind, _) in zip(arguments, kernel.parameters, strict=True)]
    threads = ORDERS[order[-1]](grid[0] * block[0]).astype("int64")
    kernel.function(len(threads), block[0], threads.ctypes.data, *(h.passed for h in held))
    for k, h in enumerate(held):
        h.put_back(f"argument {k} of {kernel.name}")
    launched.append(kernel.name)


class GuardedArray:
    """A copy of an array between two strips of 0xFF: NaN, if they are read; and a write into them is seen."""

    def __init__(self, a):
        self.a, self.before, edge = a, a.tobytes(), GUARD * a.itemsize
        self.bytes = numpy.full(a.nbytes + 2 * edge, 0xFF, dtype="uint8")
        self.inside = slice(edge, edge + a.nbytes)
        self.bytes[self.inside] = numpy.frombuffer(self.before, dtype="uint8")
        self.passed = self.bytes.ctypes.data + edge

    def put_back(self, name):
        strips = self.bytes[:self.inside.start], self.bytes[self.inside.stop:]
        assert all((strip == 0xFF).all() for strip in strips), f"{name}: a write beside the array"
        after = self.bytes[self.inside]
        if after.tobytes() != self.before:  # an array that is passed twice may have been written through the other
            self.a[...] = after.view(self.a.dtype).reshape(self.a.shape)


class Value:
    def __init__(self, value):
        self.passed = value.item()

    def put_back(self, name):
        pass


def guarded(argument, kind):
    if isinstance(argument, DeviceArray):
        a = argument._a
        assert a.flags.c_contiguous, "a kernel takes an array whose numbers lie in order"
        wanted = kind.removeprefix("const ").removesuffix("*")
        assert a.dtype == NUMPY_TYPES[wanted], f"a pointer to {wanted} was given {a.dtype}"
        return GuardedArray(a)
    assert isinstance(argument, numpy.generic), "a number needs a type: CuPy passes a Python int as 8 bytes"
    assert argument.dtype == NUMPY_TYPES[kind], f"a value of type {kind} was given {argument.dtype}"
    return Value(argument)


class HostCuda:
    """The strict stand-in for CuPy, with `RawModule`. A new one compiles everything anew."""

    __name__ = "host_cuda"

    def __init__(self):
        vars(self).update(vars(strict), RawModule=GuardedModule)


host_cuda = HostCuda()
# the explicit move to a device is a copy
host_numpy = types.SimpleNamespace(**vars(numpy) | {"__name__": "host_numpy", "asarray": numpy.array})
DEVICES = [host_cuda, host_numpy]
if gpu_available():
    import cupy

    DEVICES.append(pytest.param(cupy, marks=pytest.mark.gpu))


def on(xp, monkeypatch):
    """xp, one of DEVICES or another HostCuda, with its arrays handed to the kernels as long as the test runs."""
    if xp is host_numpy or isinstance(xp, HostCuda):
        if host.compiler() is None:
            pytest.skip("no C++ compiler (g++, clang++ or c++) here, and no GPU")
    if isinstance(xp, HostCuda):
        monkeypatch.setitem(ARRAY_MODULES, DeviceArray, xp)
    if xp is host_numpy:
        call = host.HostKernel.__call__
        monkeypatch.setattr(host.HostKernel, "__call__",
                            lambda kernel, *arguments: (launched.append(kernel.name), call(kernel, *arguments)))
    launched.clear()
    return xp
