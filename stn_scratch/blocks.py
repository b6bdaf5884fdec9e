"""Blocks of images: a CPU works through a batch in pieces that stay in its cache."""

from stn_scratch.backend import on_host

CACHE_BYTES = 2 ** 20  # what a block may fill of a core's cache


def blocks_of_images(x, per_image, most=None):
    """Slices of the batch x (B, ...): as many images as fit into `most`, of which each takes `per_image`; at least one.

    most: None for `CACHE_BYTES`, per_image then in bytes. On a GPU the batch is one block.
    """
    n = max(1, (most or CACHE_BYTES) // max(1, per_image)) if on_host(x) else max(1, len(x))
    return [slice(k, k + n) for k in range(0, len(x), n)]
