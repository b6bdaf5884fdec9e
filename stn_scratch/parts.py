r"""Several spatial transformers side by side, each for one part of the image (paper, Sec. 4.3 and App. A.6: the birds).

One localisation network reads the image and says for each of N parts where it is. A part is a crop of a fixed scale,
Eq. (2) with s given: only t_x and t_y are learnt. Each crop goes through a network of its own, which describes it in a
vector, and the N descriptors are concatenated for the classifier. So fine detail is read where it matters, from a
large image, and nowhere else.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from stn_scratch.backend import get_array_module
from stn_scratch.grids import TRANSFORMATIONS
from stn_scratch.layer_networks import input_shape
from stn_scratch.network import Dense, check_network
from stn_scratch.parameters import pack
from stn_scratch.sampling import sample_backward, sample_forward
from stn_scratch.validate import check_flag, check_number, check_size, check_whole

ATTENTION = TRANSFORMATIONS["attention"]


class PartCache(NamedTuple):
    grid: object
    V: object  # of the sampler
    branch: object
    width: int  # of the descriptor


class PartsCache(NamedTuple):
    hidden: object  # caches of the localisation network, ...
    regression: object
    parts: list  # ... a PartCache for each part
    t: object  # (B, 2N), for whoever wants to look


class Crop(NamedTuple):
    """What one part is."""

    theta: object  # (B, 3) = s, t_x, t_y
    grid: object  # (B, 2, H', W')
    V: object  # (B, H', W', C)


def tiles(parts, scale):
    """The centres of `parts` crops of this scale that tile the image, as far as they can: (t_x, t_y) of each in turn.

    They stand in rows, as nearly a square as the number allows, evenly from edge to edge; one alone in the middle. So
    with scale 0.5 two are the left and the right middle, four are the quadrants.
    """
    check_whole("parts", parts)
    check_number("scale", scale, positive=True)
    if scale > 1:
        raise ValueError(f"scale must be at most 1, the whole image, not {scale!r}")
    rows = max(n for n in range(1, parts + 1) if parts % n == 0 and n * n <= parts)

    def centres(n):
        return [(1 - scale) * (2 * k / (n - 1) - 1) if n > 1 else 0.0 for k in range(n)]

    return tuple((t_x, t_y) for t_y in centres(rows) for t_x in centres(parts // rows))


@dataclass(frozen=True)
class PartTransformers:
    """Images (B, H, W, C) -> the descriptors of `parts` crops of them, side by side: (B, parts * D).

    localisation  a network (B, H, W, C) -> (B, K), one for all parts. The final regression layer K -> 2N, the t_x, t_y
                  of each part in turn, is added here, with zero weights; its bias is such that the crops tile the image
    parts         N
    branch        the network of a crop, (B, H', W', C) -> (B, D): one structure, and parameters for each part
    size          (H', W') of a crop; None: as many pixels as it covers
    scale         s of every crop: the part of the image's width and height that it covers
    align_corners  as in `sample_forward`

    Raises ValueError for arguments that are no such thing, and from `init` for a branch that gives no vectors.
    """

    localisation: object
    parts: int
    branch: object
    size: tuple | None = None
    scale: float = 0.5
    align_corners: bool = True
    regression: Dense = field(init=False)
    transform = "attention"  # of `TRANSFORMATIONS`: what a `Look` at a part shows

    def __post_init__(self):
        check_flag("align_corners", self.align_corners)
        if self.size is not None:
            check_size("size", self.size)
        start = tuple(t for centre in tiles(self.parts, self.scale) for t in centre)
        # a frozen dataclass sets what it derives from its fields in this way
        object.__setattr__(self, "regression", Dense(len(start), bias=start))

    def _names(self):
        return [f"part {i}" for i in range(1, self.parts + 1)]

    def _size(self, H, W):
        return self.size or tuple(max(1, round(self.scale * n)) for n in (H, W))

    def init(self, rng, in_shape):
        check_network("localisation", self.localisation)
        check_network("branch", self.branch)
        H, W, C = input_shape(self, in_shape)
        hidden, hidden_shape = self.localisation.init(rng, in_shape)
        regression, _ = self.regression.init(rng, hidden_shape)
        params = {"localisation": {"hidden": hidden, "regression": regression}}
        for name in self._names():
            params[name], shape = self.branch.init(rng, (*self._size(H, W), C))
        if len(shape) != 1:
            raise ValueError(f"branch must give vectors (B, D), for which put Flatten last; its output is (B, {shape})")
        return pack(params), (self.parts * shape[0],)

    def forward(self, params, U):
        # t_x, t_y of all parts, from one network
        hidden, cache_hidden = self.localisation.forward(params["localisation"]["hidden"], U)
        t, cache_regression = self.regression.forward(params["localisation"]["regression"], hidden)
        descriptors, caches = [], []
        for i, name in enumerate(self._names()):
            # Eq. (2) with s fixed, Eq. (3), and what the part's own network says of it
            crop, cache_grid, cache_V = self._crop(t, i, U)
            y, cache_branch = self.branch.forward(params[name], crop.V)
            descriptors.append(y)
            caches.append(PartCache(cache_grid, cache_V, cache_branch, y.shape[1]))
        y = get_array_module(U).concatenate(descriptors, axis=1)
        return y, PartsCache(cache_hidden, cache_regression, caches, t)

    def _crop(self, t, i, U):
        """The crop of part i, counted from 0, of images U; the caches of its grid and of its sampler."""
        xp = get_array_module(t)
        s = xp.full((t.shape[0], 1), self.scale, dtype=t.dtype)
        theta = xp.concatenate([s, t[:, 2 * i:2 * i + 2]], axis=1)
        grid, cache_grid = ATTENTION.forward(theta, size=self._size(*U.shape[1:3]), align_corners=self.align_corners)
        V, cache_V = sample_forward(U, grid, align_corners=self.align_corners)
        return Crop(theta, grid, V), cache_grid, cache_V

    def crops(self, U, cache):
        """A `Crop` for each part, as they were when `forward` gave this cache for U."""
        return [self._crop(cache.t, i, U)[0] for i in range(self.parts)]

    def backward(self, dy, cache, *, need_dx=True):
        grads, dt, dU_parts, start = {}, [], [], 0
        for name, part in zip(self._names(), cache.parts, strict=True):
            dV, grads[name] = self.branch.backward(dy[:, start:start + part.width], part.branch)
            start += part.width
            dU_part, dgrid = sample_backward(dV, part.V, need_dU=need_dx)
            # Eq. (2): s is no parameter here, so of ds, dt_x, dt_y the first leads nowhere
            dt.append(ATTENTION.backward(dgrid, part.grid)[:, 1:])
            dU_parts.append(dU_part)
        dhidden, d_regression = self.regression.backward(get_array_module(dy).concatenate(dt, axis=1), cache.regression)
        dU, d_hidden = self.localisation.backward(dhidden, cache.hidden, need_dx=need_dx)
        # the paths from the loss to U, through where all parts lie and through the pixels of each, meet here: they add
        for dU_part in dU_parts if need_dx else ():
            dU = dU + dU_part
        return dU, {"localisation": {"hidden": d_hidden, "regression": d_regression}, **grads}
