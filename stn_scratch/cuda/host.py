"""The CUDA texts on a CPU: compiled by the host's C++ compiler behind host.h, and called through ctypes.

ctypes lets go of the interpreter's lock as long as a kernel runs, so that the threads of training/parallel.py really
work side by side. A library is kept in the user's cache, under a name that changes with the text, the compiler, its
options and the CPU; processes that compile it at once do not disturb each other.
"""

import ctypes
import os
import re
import shutil
import subprocess
import tempfile
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from threading import Lock

from stn_scratch.backend import ARRAY_MODULES
from stn_scratch.user_cache import cache_folder

COMPILERS = ("g++", "clang++", "c++")
# As on the GPU, no product and sum are rounded in one, and no sum is reordered but where the text allows it: nothing of
# -ffast-math, only that nobody looks at errno and at the flags of floating-point exceptions
FLAGS = ("-std=c++17", "-O3", "-march=native", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math",
         "-fopenmp-simd", "-fPIC", "-shared")
PATIENCE = 120  # seconds, for a compiler
C_TYPES = {"float": ctypes.c_float, "double": ctypes.c_double, "int": ctypes.c_int, "long long": ctypes.c_longlong,
           "*": ctypes.c_void_p}
# What training asks for most. A kernel is compiled once more for each of these, with the numbers as constants: no
# branch is left; with so few channels (FEW in host.h) no inner loop, so that its threads run in vectors: of one
# channel, which is grey, to three, which are colour, or four; and with the widths usual in convolutions an inner loop
# of whole vectors. The last leaves the number of channels open.
BILINEAR = {"integer": 0, "padding": 0, "align_corners": 1}
CHANNELS = (1, 2, 3, 4, 8, 16, 32)
USUAL = {"sample_with_slopes": [BILINEAR]} | {
    kernel: [{"groups": 1, "from_theta": 0, **BILINEAR, **more, **channels}
             for channels in (*({"width": C, "C": C} for C in CHANNELS if C >= fewest), {})]
    for kernel, fewest, more in (("sample_forward", 1, {}), ("sample_dgrid", 2, {"central": 0}), ("sample_dU", 1, {}))}


@cache
def compiler():
    """The path of the host's C++ compiler, or None."""
    return next(filter(None, map(shutil.which, COMPILERS)), None)


@cache
def header():
    """What stands in front of a CUDA text."""
    return files("stn_scratch.cuda").joinpath("host.h").read_text(encoding="utf-8")


def _named(expression):
    """`name<T, I>` -> name, T, I."""
    return re.fullmatch(r"(\w+)<(.*), (.*)>", expression).groups()


def signature(code, expression):
    """The parameters of a kernel `name<T, I>`: [("const float*", "U"), ("int", "H"), ...]."""
    name, number, index = _named(expression)
    inside = re.search(rf"__global__ void {name}\((.*?)\)", code, re.DOTALL)[1]
    of = [re.fullmatch(r"\s*(.*?)\s*(\w+)", parameter, re.DOTALL).groups() for parameter in inside.split(",")]
    return [(re.sub(r"\bT\b", number, re.sub(r"\bI\b", index, kind)), parameter) for kind, parameter in of]


def exports(code, expressions):
    """C++ that offers each kernel as a plain function `kernel_k`: threads, block, order or null, arguments."""
    return "".join(_export(k, expression, signature(code, expression)) for k, expression in enumerate(expressions))


def _export(k, expression, parameters):
    name, number, index = _named(expression)

    def run(constants):
        arguments = ", ".join(str(constants.get(parameter, parameter)) for _, parameter in parameters)
        thread = f"[=]() __attribute__((always_inline)) {{ {expression}({arguments}); }}"
        return f"run<{number}>(threads, block, order, {thread});"

    usual = "".join(f"    if ({' && '.join(f'{parameter} == {value}' for parameter, value in constants.items())})\n"
                    f"        return {run(constants)}\n"
                    for constants in (USUAL.get(name, []) if (number, index) == ("float", "int") else []))
    declared = "".join(f", {kind} {parameter}" for kind, parameter in parameters)
    return (f'extern "C" void kernel_{k}(long long threads, int block, const long long* order{declared}) {{\n{usual}'
            f"    {run({})}\n}}\n")


def _run(*arguments):
    """What the compiler writes to stderr; raises RuntimeError where it fails."""
    try:
        result = subprocess.run([compiler(), *arguments], capture_output=True, text=True, check=False, timeout=PATIENCE,
                                stdin=subprocess.DEVNULL, env={**os.environ, "LC_ALL": "C"})
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{compiler()} took more than {PATIENCE} seconds") from None
    if result.returncode:
        lines = result.stderr.splitlines() or ["no word of why"]
        raise RuntimeError(f"{compiler()}: " + next((line for line in lines if "error" in line), lines[-1]))
    return result.stderr


def compiled(source, flags, folder):
    """The C++ source as a loaded library, kept in the folder. Raises RuntimeError or OSError where that fails."""
    if compiler() is None:
        raise RuntimeError(f"no C++ compiler ({', '.join(COMPILERS)}) was found")
    # what the compiler would do says which it is, and for which CPU -march=native stands
    facts = _run(*flags, "-###", "-E", "-x", "c++", os.devnull)
    path = folder / f"{sha256((source + facts).encode()).hexdigest()[:24]}.so"
    if path.is_file():
        try:
            return ctypes.CDLL(str(path))
        except OSError:
            pass  # not a whole library: made again
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        text, made = Path(name) / "kernels.cpp", Path(name) / "kernels.so"
        text.write_text(source, encoding="utf-8")
        _run(*flags, str(text), "-o", str(made))
        os.replace(made, path)
    return ctypes.CDLL(str(path))


class HostModule:
    """What `cupy.RawModule` is for a GPU: the kernels of a CUDA text, compiled."""

    _one = Lock()  # threads that ask at once wait for one compilation

    def __init__(self, *, code, name_expressions, options=(), flags=FLAGS, folder=None):
        self.names, self.code = list(name_expressions), code
        with self._one:
            self.library = compiled("\n".join([header(), code, exports(code, self.names)]), flags,
                                    folder or cache_folder("compiled"))

    def get_function(self, name):
        return HostKernel(self.library[f"kernel_{self.names.index(name)}"], name, signature(self.code, name))


class HostKernel:
    """A kernel: kernel(threads, how many of them a block has, arguments): arrays of NumPy, and Python's numbers.

    Blocks are whole, and no thread may be without something to do. Raises TypeError for a wrong number of arguments.
    """

    def __init__(self, function, name, parameters):
        self.function, self.name, self.parameters = function, name, parameters
        function.restype = None
        function.argtypes = [ctypes.c_longlong, ctypes.c_int, ctypes.c_void_p,
                             *(C_TYPES["*" if kind.endswith("*") else kind] for kind, _ in parameters)]

    def __call__(self, threads, block, arguments):
        if len(arguments) != len(self.parameters):  # ctypes would pass too many on without a word
            raise TypeError(f"{self.name} takes {len(self.parameters)} arguments, not {len(arguments)}")
        # of an array the address of its numbers: as a.ctypes.data gives it, but sooner
        self.function(threads, block, None,
                      *[a.__array_interface__["data"][0] if type(a) in ARRAY_MODULES else a for a in arguments])
