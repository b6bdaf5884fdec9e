r"""The other layers of the paper's networks as forward/backward pairs: dense, convolution, pooling, ReLU, the losses.

Images are channels-last, (B, H, W, C). In a backward, `dy` is the gradient of the loss with respect to the output y.
`need_dx=False`, where a backward has it, leaves out the gradient of the input (None instead): the first layer of a
network has nobody to hand it to.
"""

from stn_scratch.layers.conv_pool import conv2d_max_pool_backward, conv2d_max_pool_forward
from stn_scratch.layers.convolution import conv2d_backward, conv2d_forward
from stn_scratch.layers.dense import dense_backward, dense_forward, relu_backward, relu_forward
from stn_scratch.layers.loss import softmax_cross_entropy_backward, softmax_cross_entropy_forward
from stn_scratch.layers.pooling import avg_pool_backward, avg_pool_forward, max_pool_backward, max_pool_forward
from stn_scratch.layers.triplet import triplet_hinge_backward, triplet_hinge_forward

__all__ = ["avg_pool_backward", "avg_pool_forward", "conv2d_backward", "conv2d_forward", "conv2d_max_pool_backward",
           "conv2d_max_pool_forward", "dense_backward", "dense_forward", "max_pool_backward", "max_pool_forward",
           "relu_backward", "relu_forward", "softmax_cross_entropy_backward", "softmax_cross_entropy_forward",
           "triplet_hinge_backward", "triplet_hinge_forward"]
