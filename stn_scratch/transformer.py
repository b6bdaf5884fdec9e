"""The spatial transformer module: localisation network, grid generator, sampler (paper, Sec. 3, Fig. 2)."""

from dataclasses import dataclass, field
from typing import NamedTuple

from stn_scratch import cuda
from stn_scratch.backend import get_array_module
from stn_scratch.grids import TRANSFORMATIONS
from stn_scratch.layer_networks import input_shape
from stn_scratch.network import Dense, Parallel, Sequential, check_network
from stn_scratch.parameters import pack
from stn_scratch.parts import PartTransformers
from stn_scratch.sampling import sample_backward, sample_forward
from stn_scratch.sampling.kernels import KernelOfWidth
from stn_scratch.sampling.sampler import Options, check_options
from stn_scratch.transformer3d import SpatialTransformer3D
from stn_scratch.validate import check_choice, check_flag, check_size

# The Phi with which a kernel of learnable width starts: nearly its narrowest, where its width can still be learnt.
NARROW = (-3.0, -3.0)


class TransformerCache(NamedTuple):
    hidden: object  # caches of the localisation network, ...
    regression: object
    grid: object  # None: grid and sampler were one
    V: object  # ... and of the sampler
    theta: object  # (B, n), for whoever wants to look


@dataclass(frozen=True)
class SpatialTransformer:
    """The paper's module (Sec. 3): localisation network -> grid -> sampler. U (B, H, W, C) -> V (B, H', W', C).

    localisation  a network (B, H, W, C) -> (B, D). The final regression layer D -> theta is added here, with zero
                  weights and the identity as its bias, so that every transformer starts as the identity
    transform     a name of `TRANSFORMATIONS`: "affine", "attention", "projective", "tps", ...
    size          (H', W') of the output; None: as the input
    kernel        as in `sample_forward`. For one of learnable width, such as Triangle(), the regression layer gives
                  Phi_x, Phi_y of each image behind its theta; it starts nearly as narrow as it can be
    padding, align_corners, lattice   as in `sample_forward`
    """

    localisation: object
    transform: str = "affine"
    size: tuple | None = None
    kernel: object = "bilinear"
    padding: str = "zeros"
    align_corners: bool = True
    lattice: str = "right"
    regression: Dense = field(init=False)

    def __post_init__(self):
        check_choice("transform", self.transform, TRANSFORMATIONS)
        check_options(self.kernel, self.padding, self.lattice)
        check_flag("align_corners", self.align_corners)
        if self.size is not None:
            check_size("size", self.size)
        identity = TRANSFORMATIONS[self.transform].identity
        start = (*identity, *NARROW) if isinstance(self.kernel, KernelOfWidth) else identity
        # a frozen dataclass sets what it derives from its fields in this way
        object.__setattr__(self, "regression", Dense(len(start), bias=start))

    def init(self, rng, in_shape):
        check_network("localisation", self.localisation)
        H, W, C = input_shape(self, in_shape)
        hidden, hidden_shape = self.localisation.init(rng, in_shape)
        regression, _ = self.regression.init(rng, hidden_shape)
        return pack({"localisation": {"hidden": hidden, "regression": regression}}), (*(self.size or (H, W)), C)

    def forward(self, params, U):
        # theta = f_loc(U), by the hidden layers and a regression
        hidden, cache_hidden = self.localisation.forward(params["localisation"]["hidden"], U)
        p, cache_regression = self.regression.forward(params["localisation"]["regression"], hidden)
        n = len(TRANSFORMATIONS[self.transform].identity)
        theta, Phi = p[:, :n], (p[:, n:] if p.shape[1] > n else None)
        # (x_s, y_s) = T_theta(G), and V sampled from U there
        V, cache_grid, cache_V = self._warp(U, theta, Phi)
        return V, TransformerCache(cache_hidden, cache_regression, cache_grid, cache_V, theta)

    def _warp(self, U, theta, Phi):
        """V, and the caches of the grid and of the sampler; where a GPU runs both in one kernel, no grid and no cache.
        """
        options = Options(self.kernel, self.padding, self.align_corners, self.lattice)
        if self.transform == "affine" and self.kernel in cuda.KERNELS and cuda.available(U):
            V, cache_V = cuda.affine_sample_forward(U, theta.reshape(-1, 2, 3), size=self.size or U.shape[1:3],
                                                    options=options)
            return V, None, cache_V
        grid, cache_grid = self.grid(theta, U)
        V, cache_V = sample_forward(U, grid, Phi, **options._asdict())
        return V, cache_grid, cache_V

    def grid(self, theta, U):
        """The sampling grid (B, 2, H', W') of theta (B, n) for images U, and its cache."""
        return TRANSFORMATIONS[self.transform].forward(theta, size=self.size or U.shape[1:3],
                                                       align_corners=self.align_corners)

    def backward(self, dV, cache, *, need_dx=True):
        dU, dgrid, *dPhi = sample_backward(dV, cache.V, need_dU=need_dx)
        if cache.grid is None:
            dtheta = dgrid.reshape(-1, 6)  # where there was no grid, this is dtheta already
        else:
            dtheta = TRANSFORMATIONS[self.transform].backward(dgrid, cache.grid)
        dp = get_array_module(dV).concatenate([dtheta, *dPhi], axis=1)
        dhidden, d_regression = self.regression.backward(dp, cache.regression)
        dU_localisation, d_hidden = self.localisation.backward(dhidden, cache.hidden, need_dx=need_dx)
        # the two paths from the loss to U, through the sampled pixels and through theta, meet here: they add
        dU = dU + dU_localisation if need_dx else None
        return dU, {"localisation": {"hidden": d_hidden, "regression": d_regression}}


class Look(NamedTuple):
    """What one spatial transformer saw and did."""

    U: object  # (B, H, W, C) its input
    theta: object  # (B, n) the parameters of its transformation
    grid: object  # (B, 2, H', W') where it sampled
    V: object  # (B, H', W', C) its output
    transformer: SpatialTransformer


def looks(network, params, x):
    """The output of a network and a `Look` for each spatial transformer in its sequences and branches, in order.

    `PartTransformers` give one for each part.
    """
    seen = []

    def forward(net, params, x):
        if isinstance(net, Sequential):
            for name, part in net.networks.items():
                x = forward(part, params[name], x)
            return x
        if isinstance(net, Parallel):
            ys = [forward(part, params[name], x) for name, part in net.networks.items()]
            return get_array_module(x).concatenate(ys, axis=-1)
        y, cache = net.forward(params, x)
        if isinstance(net, SpatialTransformer | SpatialTransformer3D):
            seen.append(Look(x, cache.theta, net.grid(cache.theta, x)[0], y, net))
        if isinstance(net, PartTransformers):
            seen.extend(Look(x, *crop, net) for crop in net.crops(x, cache))
        return y

    return forward(network, params, x), seen
