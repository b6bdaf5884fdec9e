"""The same network in PyTorch: layer by layer, with the same parameters. A peer to measure against."""

import torch
import torch.nn.functional as F
from torch import nn

from stn_scratch.network import AvgPool, Conv2D, Dense, Flatten, MaxPool, ReLU
from stn_scratch.transformer import SpatialTransformer


class Transformer(nn.Module):
    """An affine spatial transformer by PyTorch's own affine_grid and grid_sample."""

    def __init__(self, localisation, regression):
        super().__init__()
        self.localisation, self.regression = localisation, regression

    def forward(self, U):
        theta = self.regression(self.localisation(U)).reshape(-1, 2, 3)
        grid = F.affine_grid(theta, U.shape, align_corners=True)
        return F.grid_sample(U, grid, mode="bilinear", padding_mode="zeros", align_corners=True)


def _linear(params, image_shape):
    """A Dense layer. After Flatten its rows stand in the order (H, W, C); PyTorch's flatten gives (C, H, W)."""
    W = torch.from_numpy(params["W"].copy())
    if image_shape is not None:
        W = W.reshape(*image_shape, -1).permute(2, 0, 1, 3).flatten(0, 2)
    layer = nn.Linear(*W.shape)
    layer.weight.data, layer.bias.data = W.T.contiguous(), torch.from_numpy(params["b"].copy())
    return layer


def _conv(net, params):
    kh, kw, C, filters = params["W"].shape
    layer = nn.Conv2d(C, filters, (kh, kw), net.stride, net.padding)
    layer.weight.data = torch.from_numpy(params["W"].copy()).permute(3, 2, 0, 1).contiguous()
    layer.bias.data = torch.from_numpy(params["b"].copy())
    return layer


def twin(network, params, in_shape):
    """A Sequential of ours and its parameters -> the PyTorch module, and its output's shape (channels last)."""
    modules, flattened, shape = [], None, in_shape
    for name, net in network.networks.items():
        below, shape = shape, net.init(_NoDraws(), shape)[1]
        match net:
            case Conv2D():
                modules.append(_conv(net, params[name]))
            case Dense():
                modules.append(_linear(params[name], flattened))
                flattened = None
            case MaxPool():
                modules.append(nn.MaxPool2d(net.size, ceil_mode=net.ceil))
            case AvgPool():
                modules.append(nn.AvgPool2d(net.size, ceil_mode=net.ceil))
            case ReLU():
                modules.append(nn.ReLU(inplace=True))
            case Flatten():
                flattened = below
                modules.append(nn.Flatten())
            case SpatialTransformer(transform="affine"):
                inner = params[name]["localisation"]
                localisation, _ = twin(net.localisation, inner["hidden"], below)
                modules.append(Transformer(localisation, _linear(inner["regression"], None)))
            case _:
                raise ValueError(f"no twin for {net}")
    return nn.Sequential(*modules), shape


class _NoDraws:
    """A generator whose draws are all zero: only the shapes that `init` works out are wanted."""

    def normal(self, *, scale, size):
        return torch.zeros(size).numpy()
