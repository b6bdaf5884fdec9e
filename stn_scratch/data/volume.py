r"""Digits in a volume (paper, App. A.3): extruded to a slab, turned, and placed in 60x60x60 voxels.

The slab is T = `THICKNESS` planes, each the digit: U_nml = I_nm / T, so that flattened it is the digit again. Then
Eq. (9) needs no U in its sum over l:

\[ V_i = \Big[ \sum_n \sum_m I_{nm} \, k(x_i - m) \, k(y_i - n) \Big] \; \frac1T \sum_l k(z_i - l) . \]

The bracket is the 2-D sampler, four taps for eight. And only the voxels that the turned slab can reach are sampled.
"""

import numpy as np

from stn_scratch.backend import get_array_module
from stn_scratch.coordinates import to_pixels
from stn_scratch.grids.volume import affine_grid3d_forward
from stn_scratch.sampling import sample_forward

SIDE = 60  # of the volume, in voxels
THICKNESS = 8  # of the slab, in voxels (ours)
LARGEST_ANGLE = np.pi / 4  # (ours)


def rotations(axes, angles):
    """Turns by angles (B,) about axes (B, 3), vectors x, y, z of any length but 0 -> matrices (B, 3, 3). On the host.

    Rodrigues' formula: R = I + sin(a) K + (1 - cos(a)) K K, where K v is the cross product of the unit axis and v.
    """
    x, y, z = (axes / np.linalg.norm(axes, axis=1, keepdims=True)).T
    zero = np.zeros_like(x)
    K = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)
    sin, cos = np.sin(angles)[:, None, None], np.cos(angles)[:, None, None]
    return np.eye(3) + sin * K + (1 - cos) * (K @ K)


def cube_side(side):
    """The side of a cube of voxels that holds a slab of side x side x THICKNESS, however it is turned.

    Even or odd as the side is: so what is not turned stands on the voxels.
    """
    # the tents of the sampler reach one voxel beyond the slab's outermost centres
    reach = np.sqrt(2 * (side + 1) ** 2 + (THICKNESS + 1) ** 2) / 2
    return side + 2 * int(np.ceil(reach - (side + 1) / 2))


def turned(digits, R):
    """Slabs of digits (B, H, H, 1), turned by R (B, 3, 3), a host array -> cubes (B, S, S, S, 1), S = cube_side(H)."""
    xp = get_array_module(digits)
    B, H, _, _ = digits.shape
    S = cube_side(H)
    # the way back, from the cube to the slab, is the transpose; and from the unit of the one to that of the other
    units = np.array([H - 1, H - 1, THICKNESS - 1])[:, None]
    theta = np.zeros((B, 3, 4))
    theta[:, :, :3] = R.swapaxes(1, 2) * (S - 1) / units
    grid, _ = affine_grid3d_forward(xp.asarray(theta.astype(digits.dtype.name)), size=(S, S, S))
    fronts, _ = sample_forward(digits, xp.ascontiguousarray(grid[:, :2]).reshape(B, 2, S * S, S))
    # sum_l k(z - l): 1 within the slab, and falling to 0 in one voxel on either side
    z_p = to_pixels(grid[:, 2], THICKNESS, True)
    profile = xp.clip(THICKNESS / 2 + 0.5 - xp.abs(z_p - (THICKNESS - 1) / 2), 0, 1)
    return fronts.reshape(B, S, S, S, 1) * (profile / THICKNESS)[..., None]


def draw_volume(rng, images, labels):
    """Each digit as a slab, turned about a random axis by up to `LARGEST_ANGLE`, at a random place, whole voxels.

    images (B, 1, 28, 28, 1), labels (B, 1) -> (B, 60, 60, 60, 1), (B,), on their device.
    """
    B = len(images)
    R = rotations(rng.normal(size=(B, 3)), rng.uniform(0, LARGEST_ANGLE, B))
    S = cube_side(images.shape[2])
    corners = rng.integers(0, SIDE - S + 1, (B, 3)).tolist()
    volumes = get_array_module(images).zeros((B, SIDE, SIDE, SIDE, 1), dtype=images.dtype)
    # a few at a time, as many as fit a core's cache
    for k in range(0, B, 4):
        cubes = turned(images[k:k + 4, 0], R[k:k + 4])
        for volume, cube, (x, y, z) in zip(volumes[k:k + 4], cubes, corners[k:k + 4], strict=True):
            volume[z:z + S, y:y + S, x:x + S] = cube
    return volumes, labels[:, 0]
