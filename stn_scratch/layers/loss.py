"""Softmax and cross-entropy, the loss of every experiment in the paper's Sec. 4."""

from typing import NamedTuple

from stn_scratch import cuda
from stn_scratch.backend import get_array_module
from stn_scratch.validate import check_arrays, check_labels


class CrossEntropyCache(NamedTuple):
    p: object  # (B, classes) the softmax
    labels: object


def softmax_cross_entropy_forward(logits, *, labels):
    r"""\(L = -\frac{1}{B} \sum_b \log p_{b, \mathrm{label}_b}\) with \(p_{bk} = e^{z_{bk}} / \sum_j e^{z_{bj}}\).

    logits z (B, classes), labels (B,) integers in 0..classes-1 -> loss, a 0-d array (NumPy: a number); cache.

    Raises ValueError for an empty batch, whose mean does not exist.
    """
    check_arrays(logits=(logits, "B classes"))
    check_labels(labels, logits)
    if logits.shape[0] == 0:
        raise ValueError("logits must have at least one row: the mean loss of an empty batch does not exist")
    if cuda.available(logits):
        loss, p = cuda.softmax_cross_entropy_forward(logits, labels)
        return loss, CrossEntropyCache(p, labels)
    xp = get_array_module(logits)
    # the largest logit is subtracted first: e^z overflows, the quotient does not change
    z = logits - logits.max(axis=1, keepdims=True)
    e = xp.exp(z)
    total = e.sum(axis=1)
    rows = xp.arange(logits.shape[0])
    loss = (xp.log(total) - z[rows, labels]).mean()
    return loss, CrossEntropyCache(e / total[:, None], labels)


def softmax_cross_entropy_backward(dloss, cache):
    r"""\(dz_{bk} = \frac{dL}{B} (p_{bk} - [k = \mathrm{label}_b])\).

    dloss: the gradient of the loss itself, a number or 0-d array (1 in a plain training step) -> dlogits (B, classes).
    """
    p, labels = cache
    if getattr(dloss, "shape", ()) != ():
        raise ValueError(f"dloss must be a number or a 0-d array, one for the whole batch, not of shape {dloss.shape}")
    if cuda.available(p):
        return cuda.softmax_cross_entropy_backward(dloss, p, labels)
    xp = get_array_module(p)
    dlogits = p.copy()
    dlogits[xp.arange(p.shape[0]), labels] -= 1
    dlogits *= xp.asarray(dloss, dtype=p.dtype) / p.shape[0]
    return dlogits
