"""One training step: forward, backward, update. The batch may be cut into shards that several threads work on."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from stn_scratch.backend import get_array_module
from stn_scratch.layers import softmax_cross_entropy_backward, softmax_cross_entropy_forward
from stn_scratch.parameters import pack, unpack


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


@contextmanager
def sharded(*, threads, size=64):
    """Within it, a `gradient` that cuts the batch into shards of `size` images and works on `threads` at once.

    BLAS is held to one thread a shard. The cut and the order of the sums do not depend on `threads`, and neither does
    the result: it is the same to the last bit.
    """
    if threads < 1 or size < 1:
        raise ValueError(f"threads and size must be at least 1, not {threads} and {size}")

    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as executor:

        def sharded_gradient(network, params, x, labels):
            B = len(x)
            if B == 0 or len(labels) != B:
                return gradient(network, params, x, labels)  # which says what is wrong with them
            shards = [(x[k:k + size], labels[k:k + size]) for k in range(0, B, size)]
            futures = [executor.submit(gradient, network, params, *shard, share=len(shard[0]) / B) for shard in shards]
            return _sum([future.result() for future in futures])

        yield sharded_gradient


def _sum(results):
    if len(results) == 1:
        return results[0]
    total = results[0].grads.flat
    for result in results[1:]:
        total += result.grads.flat
    return Gradient(sum(r.loss for r in results), sum(r.errors for r in results), unpack(total, results[0].grads))


def train_step(network, params, optimiser, x, labels, *, gradient=gradient):
    """One whole step: forward, backward, update of `params` in place. Gives the loss, a 0-d array on x's device.

    x (B, H, W, C), labels (B,) integers. `gradient` may be the one of `sharded`.
    """
    get_array_module(x, labels, params.flat)
    result = gradient(network, params, x, labels)
    optimiser.step(params, result.grads)
    return result.loss
