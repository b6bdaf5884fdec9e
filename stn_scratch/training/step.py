"""One training step: forward, backward, update. `parallel.py` cuts the batch into shards for it."""

from typing import NamedTuple

import numpy as np

from stn_scratch.backend import get_array_module
from stn_scratch.layers import softmax_cross_entropy_backward, softmax_cross_entropy_forward
from stn_scratch.parameters import pack


class Gradient(NamedTuple):
    loss: object  # 0-d array: the mean over the batch
    errors: object  # 0-d array: how many of the batch were misclassified
    grads: object  # Parameters, shaped like the network's


# The loop stops a run that blows up, with a sentence; NumPy's warnings would come before it, one from each thread.
quiet = np.errstate(over="ignore", invalid="ignore", divide="ignore")


@quiet
def gradient(network, params, x, labels, *, share=1.0):
    """Loss and gradient of one batch, or of a shard that is the fraction `share` of it.

    x (B, H, W, C), labels (B,). Loss and gradient are multiplied by `share`, so that those of all shards add up.
    """
    logits, cache = network.forward(params, x)
    loss, cache_loss = softmax_cross_entropy_forward(logits, labels=labels)
    _, grads = network.backward(softmax_cross_entropy_backward(share, cache_loss), cache, need_dx=False)
    return Gradient(loss * share, (logits.argmax(axis=1) != labels).sum(), pack(grads))


def train_step(network, params, optimiser, x, labels, *, gradient=gradient):
    """One whole step: forward, backward, update of `params` in place. Gives the loss, a 0-d array on x's device.

    x (B, H, W, C), labels (B,) integers. `gradient` may be the one of `parallel.sharded`.
    """
    get_array_module(x, labels, params.flat)
    result = gradient(network, params, x, labels)
    optimiser.step(params, result.grads)
    return result.loss
