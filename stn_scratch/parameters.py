"""Parameters: nested dicts of arrays, all of them views into one flat buffer.

A network's parameters keep the shape that reads well, `params["2 Conv2D"]["W"]`; the optimiser, a checkpoint and a sum
over shards see one vector.
"""

from stn_scratch.backend import get_array_module


class Parameters(dict):
    """A nested dict of arrays whose leaves are views into `flat` (1-D), in the order of `leaves`."""

    flat = None  # where there are no arrays at all

    def __reduce__(self):
        # to copy or pickle them is to pack the arrays once more: else the copies would be views of nothing
        return pack, (_plain(self),)


def check_parameters(params):
    """Raise TypeError unless these are Parameters, with something to learn."""
    if not isinstance(params, Parameters):
        raise TypeError("params must be Parameters, as a network's init or pack() makes them, "
                        f"not {type(params).__name__}")
    if not learns(params):
        raise TypeError("params must hold an array at least: a network without parameters learns nothing")


def _plain(tree):
    return {key: _plain(value) if isinstance(value, dict) else value for key, value in tree.items()}


def leaves(tree, path=()):
    """The arrays of a nested dict, each with its path of keys: (("localisation", "1 Dense", "W"), array), ..."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


def learns(tree):
    """Whether there is an array in it at all."""
    return next(leaves(tree), None) is not None


def layout(tree):
    """The path and shape of every array: two trees of the same layout can be added, number by number."""
    return [(path, a.shape) for path, a in leaves(tree)]


def _rebuild(tree, flat, start):
    built = Parameters()
    begin = start
    for key, value in tree.items():
        if isinstance(value, dict):
            built[key], start = _rebuild(value, flat, start)
        else:
            built[key] = flat[start:start + value.size].reshape(value.shape)
            start += value.size
    built.flat = None if flat is None else flat[begin:start]
    return built, start


def unpack(flat, tree):
    """Parameters shaped like `tree`, as views into `flat`. Raises ValueError if the sizes differ."""
    size = sum(a.size for _, a in leaves(tree))
    if flat.shape != (size,):
        raise ValueError(f"flat must have shape ({size},), not {flat.shape}")
    return _rebuild(tree, flat, 0)[0]


def pack(tree):
    """Copy a nested dict of arrays into one flat buffer: Parameters of the same keys and shapes."""
    arrays = [a for _, a in leaves(tree)]
    if not arrays:
        return _rebuild(tree, None, 0)[0]
    flat = get_array_module(*arrays).concatenate([a.reshape(-1) for a in arrays])
    return unpack(flat, tree)
