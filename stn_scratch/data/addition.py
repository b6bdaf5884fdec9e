"""MNIST addition (paper, App. A.1): two digits, each distorted on a canvas of its own; the label is their sum."""

from stn_scratch.backend import get_array_module
from stn_scratch.data.distort import distort


def draw_addition(rng, images, labels):
    """Two digits, each turned, scaled and placed by itself as in RTS, as the two channels of one image.

    images (B, 2, 28, 28, 1), labels (B, 2) -> x (B, 42, 42, 2), sums (B,), from 0 to 18.
    """
    channels = [distort("rts", rng, images[:, k]) for k in (0, 1)]
    return get_array_module(images).concatenate(channels, axis=-1), labels.sum(axis=1)
