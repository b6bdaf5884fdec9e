"""Blocks of images: a CPU works through a batch in pieces that stay in its cache."""

from stn_scratch.backend import on_host

CACHE_BYTES = 2 ** 20  # what a block may fill of a core's cache


def blocks_of_images(x, bytes_per_image):
    """Slices of the batch x (B, ...): as many images as fit, at least one. On a GPU the batch is one block."""
    n = max(1, CACHE_BYTES // bytes_per_image) if on_host(x) else max(1, len(x))
    return [slice(k, k + n) for k in range(0, len(x), n)]
