"""The two switches of the fused kernels, and whether they can stand in for a pair at all."""

import os
import warnings
from contextlib import contextmanager

from stn_scratch.backend import get_array_module
from stn_scratch.cuda.launch import works

# STN_FUSED=0 leaves everything to the plain pairs; STN_DETERMINISTIC=1 makes the scatter of dU add in fixed point
_switches = {"fused": os.environ.get("STN_FUSED", "1") != "0",
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
    """`with deterministic():` makes dU of the sampler the same to the last bit in every run, in all threads."""
    return _switched("deterministic", on)


def is_deterministic():
    return _switches["deterministic"]


def available(*arrays):
    """True if fused kernels stand in for the pair that was given these arrays: CuPy's, with a compiler that works."""
    if not _switches["fused"]:
        return False
    xp = get_array_module(*arrays)
    if not hasattr(xp, "RawModule"):
        return False
    reason = works(xp)
    if reason:
        warnings.warn(f"the fused GPU kernels are off, and plain CuPy runs instead: {reason}", stacklevel=2)
        _switches["fused"] = False
    return not reason
