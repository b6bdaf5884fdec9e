"""The spatial transformer of a volume, and the flattening of a volume to an image (paper, App. A.3)."""

from dataclasses import dataclass, field
from typing import NamedTuple

from stn_scratch.grids.volume import affine_grid3d_backward, affine_grid3d_forward
from stn_scratch.layer_networks import input_shape
from stn_scratch.network import Dense, check_network
from stn_scratch.parameters import pack
from stn_scratch.sampling.sampler import LATTICE_RULES
from stn_scratch.sampling.volume import (
    flatten_depth_backward,
    flatten_depth_forward,
    sample3d_backward,
    sample3d_forward,
)
from stn_scratch.validate import check_choice, check_number, check_size

IDENTITY = (1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0)  # theta, row by row: x_s = x_t, y_s = y_t, z_s = z_t
VOLUMES = "volumes", "D H W C"
AXES = {"z": 1, "y": 2, "x": 3}  # of U (B, D, H, W, C)


class Transformer3DCache(NamedTuple):
    hidden: object  # caches of the localisation network, ...
    regression: object
    grid: object
    V: object  # ... and of the sampler
    theta: object  # (B, 12), for whoever wants to look


@dataclass(frozen=True)
class SpatialTransformer3D:
    """Localisation network -> 3-D affine grid -> trilinear sampler. U (B, D, H, W, C) -> V (B, D', H', W', C).

    localisation  a network (B, D, H, W, C) -> (B, F). The final regression layer F -> theta, 12 numbers, is added here,
                  with zero weights and the identity as its bias, so that the transformer starts as the identity
    size          (D', H', W') of the output; None: as the input
    lattice       as in `sample_forward`
    """

    localisation: object
    size: tuple | None = None
    lattice: str = "right"
    regression: Dense = field(init=False, default=Dense(len(IDENTITY), bias=IDENTITY))

    # what the pictures ask a transformer for
    transform = "affine"
    align_corners = True

    def __post_init__(self):
        check_choice("lattice", self.lattice, LATTICE_RULES)
        if self.size is not None:
            check_size("size", self.size, rank=3)

    def init(self, rng, in_shape):
        check_network("localisation", self.localisation)
        D, H, W, C = input_shape(self, in_shape, *VOLUMES)
        hidden, hidden_shape = self.localisation.init(rng, in_shape)
        regression, _ = self.regression.init(rng, hidden_shape)
        return pack({"localisation": {"hidden": hidden, "regression": regression}}), (*(self.size or (D, H, W)), C)

    def forward(self, params, U):
        # theta = f_loc(U), by the hidden layers and a regression
        hidden, cache_hidden = self.localisation.forward(params["localisation"]["hidden"], U)
        theta, cache_regression = self.regression.forward(params["localisation"]["regression"], hidden)
        # (x_s, y_s, z_s) = A_theta (x_t, y_t, z_t, 1), and V sampled from U there
        grid, cache_grid = self.grid(theta, U)
        V, cache_V = sample3d_forward(U, grid, lattice=self.lattice)
        return V, Transformer3DCache(cache_hidden, cache_regression, cache_grid, cache_V, theta)

    def grid(self, theta, U):
        """The sampling grid (B, 3, D', H', W') of theta (B, 12) for volumes U, and its cache."""
        return affine_grid3d_forward(theta.reshape(-1, 3, 4), size=self.size or U.shape[1:4])

    def backward(self, dV, cache, *, need_dx=True):
        dU, dgrid = sample3d_backward(dV, cache.V, need_dU=need_dx)
        dtheta = affine_grid3d_backward(dgrid, cache.grid).reshape(-1, len(IDENTITY))
        dhidden, d_regression = self.regression.backward(dtheta, cache.regression)
        dU_localisation, d_hidden = self.localisation.backward(dhidden, cache.hidden, need_dx=need_dx)
        # the two paths from the loss to U, through the sampled voxels and through theta, meet here: they add
        dU = dU + dU_localisation if need_dx else None
        return dU, {"localisation": {"hidden": d_hidden, "regression": d_regression}}


@dataclass(frozen=True)
class FlattenDepth:
    r"""U (B, D, H, W, C) -> what is seen of it along an axis: (B, H, W, C) along z, (B, D, W, C) along y, (B, H, D, C)
    along x.

    The paper's flattening is the sum \(\sum_l U_{nml}\). Times `spacing`, how far apart the planes stand, it is an
    integral over the depth: a volume read at every fifth plane is then as bright as if all were read.
    """

    axis: str = "z"
    spacing: float = 1.0

    def __post_init__(self):
        check_choice("axis", self.axis, AXES)
        check_number("spacing", self.spacing, positive=True)

    def init(self, rng, in_shape):
        D, H, W, C = input_shape(self, in_shape, *VOLUMES)
        return pack({}), {"z": (H, W, C), "y": (D, W, C), "x": (H, D, C)}[self.axis]

    def forward(self, params, U):
        # the axis to look along takes the place of z
        W, cache = flatten_depth_forward(U.swapaxes(1, AXES[self.axis]))
        return float(self.spacing) * W, cache

    def backward(self, dW, cache, *, need_dx=True):
        if not need_dx:
            return None, {}
        return flatten_depth_backward(float(self.spacing) * dW, cache).swapaxes(1, AXES[self.axis]), {}
