"""Launch the kernels of loss.cu."""

from stn_scratch.backend import get_array_module, is_array
from stn_scratch.cuda.launch import launch


def softmax_cross_entropy_forward(logits, labels):
    """logits (B, classes), labels (B,) integers -> loss, a 0-d array; p (B, classes). A label that is no class: NaN."""
    B, classes = logits.shape
    xp = get_array_module(logits)
    p, losses = xp.empty((B, classes), dtype=logits.dtype), xp.empty(B, dtype=logits.dtype)
    launch("loss.cu", "softmax_cross_entropy_forward", B, logits, labels.astype(xp.int64, copy=False), p, losses, B,
           classes)
    return losses.mean(), p


def softmax_cross_entropy_backward(dloss, p, labels):
    """dloss, a number or a 0-d array -> dlogits (B, classes)."""
    xp = get_array_module(p)
    # a number becomes an array on the device without a copy from the host
    dloss = dloss.astype(p.dtype, copy=False) if is_array(dloss) else xp.full((), dloss, dtype=p.dtype)
    dlogits = xp.empty(p.shape, dtype=p.dtype)
    launch("loss.cu", "softmax_cross_entropy_backward", p.size, p, labels.astype(xp.int64, copy=False), dloss, dlogits,
           p.size, p.shape[1])
    return dlogits
