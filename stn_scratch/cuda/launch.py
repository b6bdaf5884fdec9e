"""Compile a CUDA text and launch its kernels, through the module that the arrays come from.

CuPy's `RawModule` compiles with NVRTC when a kernel is first asked for, and keeps the result on disk; host.py does the
same with a C++ compiler for NumPy's arrays. Nothing here waits for the device.
"""

import re
from functools import cache
from importlib.resources import files

from stn_scratch.backend import ARRAY_MODULES
from stn_scratch.cuda.host import HostKernel, HostModule

FILES = ("sampler.cu", "convolution.cu", "pooling.cu", "relu.cu", "loss.cu", "optimiser.cu")
BLOCK = 256  # threads at most
WARP = 32  # of which a block has a whole number
INT32 = 2**31 - 2**16  # from here on, indices are 64 bits wide; the difference leaves room for the last block
C_TYPES = {"f": "float", "d": "double"}  # by the letter of the dtype, which is quicker to ask for than its name

# Without --fmad=false a product and a sum are rounded once instead of twice. A sample that the pair has *on* a pixel
# would come to lie beside it, and with it the one-sided slope. (CuPy adds -ftz=true, as for all of its own kernels:
# a float32 too small for its normal form is 0.)
OPTIONS = ("--std=c++17", "--fmad=false")


@cache
def text(file):
    """The CUDA text of a file of this folder, with what all of them share in front."""
    folder = files("stn_scratch.cuda")
    return "".join(folder.joinpath(name).read_text(encoding="utf-8") for name in ("common.cu", file))


def kernels(file, types):
    """Every kernel of a file for one type of number and one of index: ["im2col<float, int>", ...]."""
    return [f"{name}<{types}>" for name in re.findall(r"__global__ void (\w+)\(", text(file))]


@cache
def _module(xp, file, types):
    module = getattr(xp, "RawModule", HostModule)
    return module(code=text(file), options=OPTIONS, name_expressions=kernels(file, types))


@cache
def _kernel(xp, file, name, types):
    return _module(xp, file, types).get_function(f"{name}<{types}>")


@cache
def works(xp, letter="f"):
    """None if kernels can be compiled for this type of number, else why not, in one line.

    xp: the module of the arrays; None: NumPy. One kernel is tried on a GPU. For a CPU all are compiled here.
    """
    try:
        for file in ("relu.cu",) if hasattr(xp, "RawModule") else FILES:
            _module(xp, file, f"{C_TYPES[letter]}, int").get_function(kernels(file, f"{C_TYPES[letter]}, int")[0])
    except Exception as error:  # a missing library, a wrong path, a refused option: each has its own type
        return " ".join(str(error).split())[:200]
    return None


def launch(file, name, threads, *arguments, images=1):
    """Run the kernel `name<T, I>` with so many threads for each image; T is the dtype of the first argument, an array.

    No block has threads of two images. An array is passed as a pointer to its numbers (to a copy of them, if they do
    not lie in order: outputs must), a float as a T, a whole number or bool as an I.
    """
    if threads == 0 or images == 0:
        return
    array, dtype = type(arguments[0]), arguments[0].dtype
    xp = ARRAY_MODULES[array]
    wide = max(images * threads, *(a.size for a in arguments if type(a) is array)) >= INT32
    index = xp.int64 if wide else xp.int32
    kernel = _kernel(xp, file, name, f"{C_TYPES[dtype.char]}, {'long long' if wide else 'int'}")
    if isinstance(kernel, HostKernel):
        # one block for each image, so that no thread has nothing to do; where that is too large, one for each thread
        kernel(images * threads, threads if threads < INT32 else 1,
               [xp.ascontiguousarray(a) if type(a) is array else a for a in arguments])
        return
    blocks = -(-threads // BLOCK)
    block = -(-threads // (blocks * WARP)) * WARP
    kernel((images * blocks,), (block,), tuple(
        xp.ascontiguousarray(a) if type(a) is array else (dtype.type if isinstance(a, float) else index)(a)
        for a in arguments))
