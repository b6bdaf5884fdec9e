"""e(): what a trained CNN makes of a window, by which windows are compared."""

from pathlib import Path

from stn_scratch.backend import get_array_module
from stn_scratch.network import Flatten, ReLU
from stn_scratch.training import loop
from stn_scratch.training.checkpoint import load_checkpoint
from stn_scratch.training.config import load_config, resume_config
from stn_scratch.training.run_folder import CHECKPOINT, CONFIG

WINDOW = 28


class Encoder:
    """x (B, 28, 28, 1) -> e (B, D): the activations of the hidden layers and of the class layer, side by side.

    network, params   a trained "cnn"; nothing here changes its parameters. The class layer counts without its softmax
    scales            a factor for each of these layers. alpha = 1 is a margin between squared distances, and those of
                      a trained CNN go into the hundreds. Where windows show the digit, those of the class layer are
                      least at the digit's own place and size; those of the hidden layers go on to fall as windows
                      grow, and draw them away. So the class layer alone counts, where the paper counts all three
    """

    def __init__(self, network, params, *, scales):
        self.layers = [(net, params[name]) for name, net in network.networks.items()]
        read = [k for k, (net, _) in enumerate(self.layers) if isinstance(net, ReLU)] + [len(self.layers) - 1]
        self.scales = dict(zip(read, scales, strict=True))

    def forward(self, x):
        caches, parts = [], []
        for k, (net, params) in enumerate(self.layers):
            x, cache = net.forward(params, x)
            caches.append(cache)
            if k in self.scales:
                part, shape = Flatten().forward({}, x)
                parts.append((self.scales[k] * part, shape))
        e = get_array_module(x).concatenate([part for part, _ in parts], axis=1)
        return e, (caches, [(part.shape[1], shape) for part, shape in parts])

    def backward(self, de, cache):
        """de (B, D) -> dx. The parameters get no gradient: they are fixed."""
        caches, shapes = cache
        shapes, end, dx = list(shapes), de.shape[1], 0
        for k in reversed(range(len(self.layers))):
            if k in self.scales:
                # what is read here goes on to the next layer, too: two paths to the loss, their gradients add
                width, shape = shapes.pop()
                dx = dx + self.scales[k] * de[:, end - width:end].reshape(shape)
                end -= width
            dx, _ = self.layers[k][0].backward(dx, caches[k])
        return dx


def load_encoder(folder, *, device="cpu", data_dir=None):
    """The trained Run in a folder that `train --model cnn --data none` has written, with its digits.

    Raises FileNotFoundError or ValueError, one sentence, if there is none, or another model or task in it.
    """
    folder = Path(folder)
    config = load_config(folder / CONFIG)
    if (config.model, config.data) != ("cnn", "none"):
        raise ValueError(f"the encoder must be a run of the model 'cnn' on the data 'none', and {folder} "
                         f"holds one of {config.model!r} on {config.data!r}")
    run, _ = loop.prepare(resume_config(config, {"device": device, "data_dir": data_dir}), folder)
    load_checkpoint(folder / CHECKPOINT, run.params)
    return run
