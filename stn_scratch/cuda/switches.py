"""The switches of the fused kernels, and whether they can stand in for a pair at all."""

import os
import warnings
from contextlib import contextmanager

from stn_scratch.backend import get_array_module, on_host
from stn_scratch.cuda import host
from stn_scratch.cuda.launch import works

# STN_FUSED=0 leaves everything to the plain pairs; STN_COMPILED=1 compiles the kernels for the CPU as well;
# STN_DETERMINISTIC=1 makes the scatter of dU add in fixed point
_switches = {"fused": os.environ.get("STN_FUSED", "1") != "0",
             "compiled": os.environ.get("STN_COMPILED", "0") != "0",
             "deterministic": os.environ.get("STN_DETERMINISTIC", "0") != "0"}


@contextmanager
def _switched(name, on):
    before, _switches[name] = _switches[name], bool(on)
    try:
        yield
    finally:
        _switches[name] = before


def fused(on=True):
    """`with fused(False):` leaves everything in it to the plain pairs, in all threads."""
    return _switched("fused", on)


def deterministic(on=True):
    """`with deterministic():` makes dU of the fused samplers the same to the last bit in every run, in all threads.

    They are the bilinear and the integer one; others, and plain CuPy, add in the order in which a GPU's threads come.
    """
    return _switched("deterministic", on)


def compiled(on=True):
    """`with compiled():` lets kernels compiled for the CPU stand in for pairs on NumPy arrays, in all threads."""
    return _switched("compiled", on)


def is_deterministic():
    return _switches["deterministic"]


def available(*arrays, cpu=False):
    """True if fused kernels stand in for the pair that was given these arrays: CuPy's, with a compiler that works.

    cpu: for a kernel that is faster than NumPy, too; true for NumPy's arrays as well, where that is switched on.
    """
    if not _switches["fused"]:
        return False
    xp = get_array_module(*arrays)
    if on_host(arrays[0]):
        switch, sentence = "compiled", "the compiled kernels are off, and plain NumPy runs instead"
        if not (cpu and _switches[switch]):
            return False
    else:
        switch, sentence = "fused", "the fused GPU kernels are off, and plain CuPy runs instead"
        if not hasattr(xp, "RawModule"):
            return False
    reason = works(xp, arrays[0].dtype.char)
    if reason:
        warnings.warn(f"{sentence}: {reason}", stacklevel=2)
        _switches[switch] = False
    return not reason


def compiled_state():
    """In a few words, whether kernels are compiled for the CPU, and with what."""
    if not _switches["fused"]:
        return "off, as all fused kernels are: by STN_FUSED=0, or as a GPU's compiler failed"
    if not _switches["compiled"]:
        return f"off (STN_COMPILED=1 turns them on), {host.compiler() or 'no C++ compiler found'}"
    reason = works(None)
    return f"off, {reason}" if reason else f"on, {host.compiler()}"
