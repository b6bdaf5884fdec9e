"""What every public function asks of its arguments, and the one sentence that it says when they are wrong."""

from functools import cache
from math import inf
from numbers import Integral, Real

from stn_scratch.backend import ARRAY_MODULES, is_array, on_host


def check_arrays(**arguments):
    """Check arrays against shapes written in letters, before anything is computed.

    check_arrays(U=(U, "B H W C"), grid=(grid, "B 2 H' W'"))

    A letter is a size that must be the same wherever it stands, a number is that size, and `...` leading axes of any
    number. All arrays must come from one module and share one dtype, float32 or float64.

    Raises TypeError (not an array, host and device mixed, dtype) or ValueError (rank, shape), naming the argument.
    """
    sizes, first = {}, None
    for name, (a, shape) in arguments.items():
        _check_is_array(name, a)
        if a.dtype.char not in "fd" or not a.dtype.isnative:
            raise TypeError(f"{name} must be float32 or float64, not {a.dtype.name if a.dtype.isnative else a.dtype}")
        _check_shape(name, a, shape, sizes)
        if first is None:
            first = name, a
            continue
        _check_device(name, a, *first)
        if a.dtype != first[1].dtype:
            raise TypeError(f"{name} must have the dtype of {first[0]}, {first[1].dtype.name}, not {a.dtype.name}")


def check_together(**arguments):
    """Check that these are arrays on one device, whatever their dtypes and shapes. Raises TypeError, naming them."""
    for name, a in arguments.items():
        _check_is_array(name, a)
        _check_device(name, a, *next(iter(arguments.items())))


def _check_is_array(name, a):
    if not is_array(a):
        raise TypeError(f"{name} must be a NumPy or CuPy array, not {type(a).__name__}")


def _check_device(name, a, other, b):
    if ARRAY_MODULES[type(a)] is not ARRAY_MODULES[type(b)]:
        raise TypeError(f"{name} and {other} must be on the same device, not one on the host and one on the GPU")


def check_gradient(name, gradient, shape):
    """Check the gradient that a backward is given: a float array of exactly the shape that its forward gave out."""
    check_arrays(**{name: (gradient, "...")})
    if gradient.shape != tuple(shape):
        raise ValueError(f"{name} must have shape {tuple(shape)}, that of the forward's output, not {gradient.shape}")


def _check_shape(name, a, shape, sizes):
    leading, letters = _letters(shape)
    tail = a.shape[len(a.shape) - len(letters):] if leading and len(a.shape) >= len(letters) else a.shape
    if len(tail) != len(letters):
        raise ValueError(f"{name} must have shape {_written(shape)}, not {a.shape}")
    for letter, size in zip(letters, tail, strict=True):
        expected = letter if isinstance(letter, int) else sizes.setdefault(letter, size)
        if size != expected:
            which = "" if isinstance(letter, int) else f" with {letter} = {expected}"
            raise ValueError(f"{name} must have shape {_written(shape)}{which}, not {a.shape}")


@cache
def _letters(shape):
    """"... 2 H W" -> True, (2, "H", "W"); the first says whether there may be leading axes."""
    leading = shape.startswith("...")
    return leading, tuple(int(s) if s.isdigit() else s for s in shape.removeprefix("...").split())


def _written(shape):
    return "(" + ", ".join(shape.split()) + ")"


def check_labels(labels, logits):
    """Check class labels: a 1-D integer array, one a row of `logits` (B, classes), on the same device.

    Their range is checked on the host only: on a GPU the look would stop the stream in every training step.
    """
    _check_is_array("labels", labels)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels must be integers, not {labels.dtype.name}")
    if labels.shape != logits.shape[:1]:
        raise ValueError(f"labels must have shape ({logits.shape[0]},), one a row of logits, not {labels.shape}")
    _check_device("labels", labels, "logits", logits)
    if on_host(labels) and labels.size and not (0 <= labels.min() and labels.max() < logits.shape[1]):
        raise ValueError(f"labels must lie in 0..{logits.shape[1] - 1}, not {labels.min()}..{labels.max()}")


def check_heads(name, heads, logits):
    """Raise ValueError unless the logits (B, ...) of an image can be shared among so many softmaxes."""
    if logits.shape[1] % heads or logits.shape[1] < 2 * heads:
        raise ValueError(f"{name} must divide the {logits.shape[1]} logits of an image into two classes or more each, "
                         f"not {heads}")


def _is_whole(n):
    """True for an int or a NumPy integer, not for a bool."""
    return isinstance(n, Integral) and not isinstance(n, bool)


def check_choice(name, value, choices):
    """Raise ValueError unless `value` is one of `choices`, all of them text."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}")


def check_size(name, value, *, rank=2):
    """Check an output size: `rank` positive whole numbers. Raises ValueError."""
    if not (isinstance(value, tuple | list) and len(value) == rank
            and all(_is_whole(n) and n > 0 for n in value)):
        raise ValueError(f"{name} must be {rank} positive whole numbers, not {value!r}")


def check_whole(name, value, *, least=1):
    """Raise ValueError unless `value` is a whole number of at least `least`: a stride of 1, a seed of 0.

    Gives it as Python's int: a narrow integer of NumPy's would overflow in a product of sizes.
    """
    if not _is_whole(value) or value < least:
        wanted = "a positive whole number" if least == 1 else f"a whole number, {least} or more"
        raise ValueError(f"{name} must be {wanted}, not {value!r}")
    return int(value)


def check_flag(name, value):
    """Raise ValueError unless `value` is True or False: the text "False" would count as True."""
    if type(value).__name__ != "bool":  # Python's, or NumPy's
        raise ValueError(f"{name} must be True or False, not {value!r}")


def check_number(name, value, *, positive=False):
    """Raise ValueError unless `value` is a finite number, 0 or more; with `positive`, more than 0 (a rate, a norm)."""
    real = isinstance(value, Real) and not isinstance(value, bool)
    if not real or not 0 <= value < inf or (positive and value == 0):
        raise ValueError(f"{name} must be a finite number, {'more than 0' if positive else '0 or more'}, not {value!r}")
