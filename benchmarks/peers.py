"""PyTorch, the peer, in the forms that are timed. The only module here that may find it missing."""

import sys
import warnings
from functools import cache

import numpy as np

try:
    import torch
    import torch.nn.functional as F

    from benchmarks.torch_twin import twin
except ImportError:
    torch = None

LR, MOMENTUM = 0.01, 0.9
DEVICES = {"cpu": "cpu", "gpu": "cuda"}  # PyTorch's names of a `Machine.name`


def versions():
    """PyTorch's version, or nothing."""
    return {} if torch is None else {"torch": torch.__version__}


def set_threads(threads):
    """PyTorch's threads on the CPU."""
    if torch is not None:
        torch.set_num_threads(threads)


def ready(machine):
    """True if PyTorch is there and sees the machine. On a GPU it is held to float32 products, as ours are: no TF32."""
    if torch is None or machine.name == "gpu" and not torch.cuda.is_available():
        return False
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    return True


def variants(machine, *, channels=2):
    """The names under which PyTorch competes. An image of one channel has both memory formats at once."""
    if not ready(machine):
        return ()
    if machine.name == "gpu":
        return ("PyTorch", "torch.compile") if _compiles() else ("PyTorch",)
    return ("PyTorch", "PyTorch channels_last") if channels > 1 else ("PyTorch",)


def _tensor(a, device, variant="PyTorch"):
    """A host array (B, H, W, C) -> a tensor (B, C, H, W) on the device, in the variant's memory format."""
    memory_format = torch.channels_last if "channels_last" in variant else torch.contiguous_format
    # a copy in C order first: torch takes an image of one channel that was only permuted for channels_last
    a = torch.from_numpy(np.ascontiguousarray(np.moveaxis(a, 3, 1)))
    return a.to(device=DEVICES[device], memory_format=memory_format)


def _compiled(f, variant):
    if variant != "torch.compile":
        return f
    warnings.filterwarnings("ignore", message=".*TensorFloat32.*")  # off on purpose
    torch.compiler.reset()  # after eight compilations of one function it would run as it stands, and say little
    return torch.compile(f, dynamic=False)


@cache
def _compiles():
    """True if torch.compile works here; else it says once why not, and only eager PyTorch competes."""
    try:
        torch.compile(lambda a: a + 1)(torch.ones(1, device="cuda"))
    except Exception as error:  # no C++ compiler, no Triton, another driver: each has its own type
        print(f"torch.compile does not work here: {' '.join(str(error).split())[:200]}", file=sys.stderr)
        return False
    return True


class Step:
    """A whole training step of the same network, from the same parameters."""

    def __init__(self, variant, network, params, x, labels, device):
        memory_format = torch.channels_last if "channels_last" in variant else torch.contiguous_format
        self.model = twin(network, params, x.shape[1:])[0].to(
            device=DEVICES[device], dtype=getattr(torch, x.dtype.name), memory_format=memory_format)
        self.optimiser = torch.optim.SGD(self.model.parameters(), LR, MOMENTUM)
        self.x, self.labels = _tensor(x, device, variant), torch.from_numpy(labels).to(DEVICES[device])
        self.forward = _compiled(self._forward, variant)

    def _forward(self, x, labels):
        logits = self.model(x)
        return F.cross_entropy(logits, labels), logits

    def __call__(self):
        self.optimiser.zero_grad()
        loss, _ = self.forward(self.x, self.labels)
        loss.backward()
        self.optimiser.step()

    def logits(self):
        return self.forward(self.x, self.labels)[1].detach().cpu().numpy()


class Sampler:
    """grid_sample forward and backward; `result` gives V, dU, dgrid in our shapes."""

    def __init__(self, variant, U, grid, dV, device):
        self.U, self.dV = (_tensor(a, device, variant) for a in (U, dV))
        self.grid = torch.from_numpy(np.ascontiguousarray(np.moveaxis(grid, 1, 3))).to(DEVICES[device])
        self.U.requires_grad_()
        self.grid.requires_grad_()
        self.sample = _compiled(
            lambda U, grid: F.grid_sample(U, grid, mode="bilinear", padding_mode="zeros", align_corners=True), variant)

    def __call__(self):
        V = self.sample(self.U, self.grid)
        return V, *torch.autograd.grad(V, (self.U, self.grid), self.dV)

    def result(self):
        V, dU, dgrid = (a.detach().cpu().numpy() for a in self())
        return np.moveaxis(V, 1, 3), np.moveaxis(dU, 1, 3), np.moveaxis(dgrid, 3, 1)


class AffineGrid:
    """affine_grid forward and backward; `result` gives grid, dtheta in our shapes."""

    def __init__(self, variant, theta, dgrid, device):
        self.theta = torch.from_numpy(theta.reshape(-1, 2, 3).copy()).to(DEVICES[device]).requires_grad_()
        self.dgrid = torch.from_numpy(np.ascontiguousarray(np.moveaxis(dgrid, 1, 3))).to(DEVICES[device])
        size = (len(theta), 1, *dgrid.shape[2:])
        self.grid = _compiled(lambda theta: F.affine_grid(theta, size, align_corners=True), variant)

    def __call__(self):
        grid = self.grid(self.theta)
        return grid, *torch.autograd.grad(grid, self.theta, self.dgrid)

    def result(self):
        grid, dtheta = (a.detach().cpu().numpy() for a in self())
        return np.moveaxis(grid, 3, 1), dtheta.reshape(len(dtheta), 6)
