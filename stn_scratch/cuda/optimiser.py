"""Launch the kernel of optimiser.cu."""

from stn_scratch.backend import get_array_module
from stn_scratch.cuda.launch import launch


def sgd_update(p, velocity, g, scale, *, momentum, weight_decay, rate):
    """v <- mu v + scale g + weight_decay p, p <- p - rate v, in place.

    p, velocity, g: 1-D, views into flat buffers; scale: a 0-d array, or None for 1; the others: numbers.
    """
    xp = get_array_module(p)
    scale = xp.ones((), dtype=p.dtype) if scale is None else xp.asarray(scale)
    launch("optimiser.cu", "sgd_update", p.size, p, velocity, g, scale, p.size, float(momentum),
           float(weight_decay), float(rate))
