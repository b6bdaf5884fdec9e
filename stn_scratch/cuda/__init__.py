"""Fused CUDA kernels: what a GPU runs instead of some of the pairs, to the same result.

Each .cu file is a short CUDA text with the equations of its pair; the .py file of the same name launches it through
CuPy. A pair asks `available(x)` and hands over after its own checks. With the environment variable STN_FUSED=0, or
inside `with fused(False):`, nothing here runs. The kernels take what training needs most; what they do not take (the
bicubic kernel, kernels with a Phi, pooling windows beyond 15x15, volumes, ...) stays with the pairs.

No kernel waits for another thread, and all but one give the same bits in any order of their threads. The exception
is the sampler's dU, whose atomic sums meet in any order; STN_DETERMINISTIC=1, or `with deterministic():`, adds them in
fixed point instead, where order does not matter.

With STN_COMPILED=1, or inside `with compiled():`, a C++ compiler of the host makes the same texts into code for the CPU
(host.py), which stands in for pairs on NumPy's arrays. Only where it is faster: that is the sampler. NumPy's copies,
comparisons and sums of whole arrays are as fast as the other kernels, and BLAS needs other blocks than a GPU.

Nothing here rounds to TF32. Matrix products are CuPy's, and CuPy uses TF32 only with the environment variable
CUPY_TF32=1.
"""

from stn_scratch.cuda.convolution import col2im, im2col
from stn_scratch.cuda.loss import softmax_cross_entropy_backward, softmax_cross_entropy_forward
from stn_scratch.cuda.optimiser import sgd_update
from stn_scratch.cuda.pooling import LARGEST_POOL, max_pool_backward, max_pool_forward
from stn_scratch.cuda.relu import bias_relu_backward, bias_relu_forward, relu_backward, relu_forward
from stn_scratch.cuda.sampler import (
    KERNELS,
    SampleCache,
    affine_sample_backward,
    affine_sample_forward,
    sample_backward,
    sample_forward,
)
from stn_scratch.cuda.switches import available, compiled, compiled_state, deterministic, fused

__all__ = ["KERNELS", "LARGEST_POOL", "SampleCache", "affine_sample_backward", "affine_sample_forward", "available",
           "bias_relu_backward", "bias_relu_forward", "col2im", "compiled", "compiled_state", "deterministic", "fused",
           "im2col", "max_pool_backward", "max_pool_forward", "relu_backward", "relu_forward", "sample_backward",
           "sample_forward", "sgd_update", "softmax_cross_entropy_backward", "softmax_cross_entropy_forward"]
