"""The array-module switch: one code for NumPy arrays on a CPU and CuPy arrays on a GPU.

The arrays decide. `xp = get_array_module(U)` gives the module that made `U`, and every other core module computes
with `xp` and with methods of its arrays. There is no global to set, so both devices can meet in one program.
This is the only module that knows CuPy.
"""

import numpy

# array type -> module with NumPy's names. CuPy enters when its first array is seen; others may be added.
ARRAY_MODULES = {numpy.ndarray: numpy}


def _cupy():
    """The module CuPy, or None where it is not installed."""
    try:
        import cupy
    except ImportError:
        return None
    ARRAY_MODULES[cupy.ndarray] = cupy
    return cupy


def gpu_available():
    """True if CuPy is installed and sees a device (CuPy imports happily on a machine without a driver)."""
    cupy = _cupy()
    return cupy is not None and cupy.is_available()


def is_array(a):
    """True if `a` is an array of a known module: NumPy, or CuPy where it is installed."""
    if type(a).__module__.partition(".")[0] == "cupy":
        _cupy()
    return type(a) in ARRAY_MODULES


def get_array_module(*arrays):
    """The module (`numpy` or `cupy`) of the arrays.

    Raises TypeError for something that is not an array, for none at all, and for host and device arrays together.
    """
    if not arrays:
        raise TypeError("expected at least one array")
    for a in arrays:
        if not is_array(a):
            raise TypeError(f"expected a NumPy or CuPy array, got {type(a).__name__}")
    modules = {ARRAY_MODULES[type(a)] for a in arrays}
    if len(modules) > 1:
        raise TypeError("host and device arrays meet here: move them with to_device or to_host first")
    return modules.pop()


def on_host(a):
    """True for a NumPy array or number: its value can be looked at without waiting for a device."""
    return isinstance(a, numpy.ndarray | numpy.generic)


def _cupy_with_a_gpu():
    if not gpu_available():
        raise RuntimeError("no GPU: CuPy is not installed, or it sees no device")
    return _cupy()


def to_device(a):
    """`a` as an array on the GPU: itself if it is one already, else a copy. Raises RuntimeError where there is none."""
    return _cupy_with_a_gpu().asarray(a)


def to_host(a):
    """`a` as a NumPy array: itself if it is one already, else a copy from the device.

    A NumPy number, which is what a sum over a NumPy array gives, becomes a 0-d array.
    """
    if on_host(a):
        return numpy.asarray(a)
    if not is_array(a):
        raise TypeError(f"expected a NumPy or CuPy array, got {type(a).__name__}")
    return a.get()


def host_generator(seed):
    """NumPy's random generator of a seed. Draws are made on the host and then moved: the same on every device."""
    return numpy.random.default_rng(seed)


def scatter_add(target, index, values):
    """target[index] += values, where an index that occurs k times adds k values (plain `+=` would keep only one).

    target (N,) or (N, C), index (n,) intp, values (n,) or (n, C) of target's dtype. In place. On a GPU the sums use
    atomics: their last bits may differ from run to run.
    """
    xp = get_array_module(target, index, values)
    if xp is not numpy or target.ndim == 1:
        xp.add.at(target, index, values)
        return
    # NumPy's add.at is fast for 1-D operands of one dtype only: column by column, and two reals as one complex number
    if target.shape[1] % 2 == 0:
        pair = numpy.result_type(target, numpy.complex64)
        target, values = target.view(pair), values.view(pair)
    for k in range(target.shape[1]):
        xp.add.at(target[:, k], index, values[:, k])


def use_gpu(number):
    """Let this thread compute on GPU `number`, modulo how many there are. CuPy keeps a GPU for each thread.

    Raises RuntimeError where there is none.
    """
    cuda = _cupy_with_a_gpu().cuda
    cuda.Device(number % cuda.runtime.getDeviceCount()).use()


def use_gpu_of(a):
    """Let this thread compute on the GPU that holds `a`; nothing to do for a host array."""
    if not on_host(a):
        a.device.use()


def synchronize(a):
    """Wait until the device of `a` has finished its work (for timing); nothing to do on a CPU."""
    xp = get_array_module(a)
    if xp is not numpy:
        xp.cuda.get_current_stream().synchronize()
