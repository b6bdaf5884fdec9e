"""A rectangle of a photograph as an image of the size that a network takes, by our own grid and sampler."""

from math import ceil

import numpy as np

from stn_scratch.grids.affine import affine_grid_forward
from stn_scratch.layers import avg_pool_forward
from stn_scratch.sampling import sample_forward
from stn_scratch.validate import check_arrays


def stretched(image, box, size):
    """The part of image (H, W, C) that box = left, top, width, height covers, in pixels -> (size, size, C).

    A pixel is the mean of as many bilinear samples as it takes to miss none of the photograph's (the paper warns of
    aliasing, Sec. 3.4). Outside the photograph its border goes on.
    """
    check_arrays(image=(image, "H W C"))
    (H, W, _), (left, top, width, height) = image.shape, box
    # Eq. (1) with align_corners=False: [-1, 1] is from edge to edge, of the box and of the photograph
    theta = np.array([[[width / W, 0, (2 * left + width) / W - 1], [0, height / H, (2 * top + height) / H - 1]]])
    finer = max(1, ceil(max(width, height) / size))
    grid, _ = affine_grid_forward(theta.astype(image.dtype), size=(finer * size, finer * size), align_corners=False)
    V, _ = sample_forward(image[None], grid, padding="border", align_corners=False)
    return avg_pool_forward(V, size=finer)[0][0]
