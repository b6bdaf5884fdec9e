"""One training step: forward, backward, update. `parallel.py` cuts the batch into shards for it."""

from typing import NamedTuple

import numpy as np

from stn_scratch.layers import softmax_cross_entropy_backward, softmax_cross_entropy_forward
from stn_scratch.parameters import check_parameters, pack
from stn_scratch.validate import check_heads, check_together


class Gradient(NamedTuple):
    loss: object  # 0-d array: the mean over the batch
    errors: object  # 0-d array: how many of the batch were misclassified
    grads: object  # Parameters, shaped like the network's


# The loop stops a run that blows up, with a sentence; NumPy's warnings would come before it, one from each thread.
quiet = np.errstate(over="ignore", invalid="ignore", divide="ignore")


@quiet
def gradient(network, params, x, labels, *, share=1.0):
    """Loss and gradient of one batch, or of a shard that is the fraction `share` of it.

    x (B, ...), labels (B,); or (B, heads), where every label has its own softmax over a part of the logits
    (B, heads * classes), and an image's loss is the sum over its labels. Loss and gradient are multiplied by `share`,
    so that those of all shards add up.
    """
    logits, cache = network.forward(params, x)
    heads = labels.size // max(1, len(labels))
    loss, cache_loss = softmax_cross_entropy_forward(by_head(logits, labels), labels=labels.ravel())
    dlogits = softmax_cross_entropy_backward(share * heads, cache_loss)
    _, grads = network.backward(dlogits.reshape(logits.shape), cache, need_dx=False)
    return Gradient(loss * (share * heads), errors(logits, labels), pack(grads))


def by_head(logits, labels):
    """logits (B, heads * classes) -> (B * heads, classes), in the order of labels (B, heads); (B,): as they are.

    Raises ValueError unless each label has an equal part of the logits, two classes or more.
    """
    if labels.ndim == 1:
        return logits
    check_heads("the heads of labels (B, heads)", labels.shape[1], logits)
    return logits.reshape(labels.size, -1)


def said(logits, labels):
    """What the logits say, shaped like the labels."""
    return by_head(logits, labels).argmax(axis=1).reshape(labels.shape)


def errors(logits, labels):
    """How many images have a label that the logits do not say, a 0-d array."""
    wrong = said(logits, labels) != labels
    return (wrong if labels.ndim == 1 else wrong.any(axis=1)).sum()


def train_step(network, params, optimiser, x, labels, *, gradient=gradient):
    """One whole step: forward, backward, update of `params` in place. Gives the loss, a 0-d array on x's device.

    x (B, ...), labels (B,) or (B, heads) integers. `gradient` may be the one of `parallel.sharded`.
    """
    check_parameters(params)
    check_together(x=x, labels=labels, params=params.flat)
    if labels.ndim not in (1, 2) or len(labels) != len(x) or 0 in labels.shape[1:]:
        raise ValueError(f"labels must have shape (B,) or (B, heads) with B = {len(x)}, not {labels.shape}")
    result = gradient(network, params, x, labels)
    optimiser.step(params, result.grads)
    return result.loss
