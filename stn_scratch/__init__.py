"""The Spatial Transformer (Jaderberg et al. 2015, arXiv 1506.02025), equation by equation, by hand.

Every forward has its backward beside it, written out; there is no autograd. NumPy arrays run on the CPU, CuPy arrays on
the GPU, by the same code.
"""

from stn_scratch import paper
from stn_scratch.backend import get_array_module, gpu_available, to_device, to_host
from stn_scratch.gradcheck import adjoint_error, check_gradients
from stn_scratch.grids import TRANSFORMATIONS
from stn_scratch.grids.affine import affine_grid_backward, affine_grid_forward
from stn_scratch.grids.bounded import (
    bounded_attention_theta_backward,
    bounded_attention_theta_forward,
    bounded_similarity_theta_backward,
    bounded_similarity_theta_forward,
    scale_theta_backward,
    scale_theta_forward,
    shear_theta_backward,
    shear_theta_forward,
)
from stn_scratch.grids.compose import (
    compose_theta_backward,
    compose_theta_forward,
    inverse_theta_backward,
    inverse_theta_forward,
    theta_from_pixels_backward,
    theta_from_pixels_forward,
    theta_to_pixels_backward,
    theta_to_pixels_forward,
)
from stn_scratch.grids.constrained import (
    attention_theta_backward,
    attention_theta_forward,
    pixel_aspect,
    rotation_theta_backward,
    rotation_theta_forward,
    similarity_theta_backward,
    similarity_theta_forward,
    translation_theta_backward,
    translation_theta_forward,
)
from stn_scratch.grids.piecewise import piecewise_affine_grid_backward, piecewise_affine_grid_forward
from stn_scratch.grids.projective import projective_grid_backward, projective_grid_forward
from stn_scratch.grids.thin_plate import tps_grid_backward, tps_grid_forward
from stn_scratch.grids.volume import affine_grid3d_backward, affine_grid3d_forward
from stn_scratch.layers import (
    avg_pool_backward,
    avg_pool_forward,
    conv2d_backward,
    conv2d_forward,
    dense_backward,
    dense_forward,
    max_pool_backward,
    max_pool_forward,
    relu_backward,
    relu_forward,
    softmax_cross_entropy_backward,
    softmax_cross_entropy_forward,
)
from stn_scratch.models import build_model, predict
from stn_scratch.network import (
    AvgPool,
    Conv2D,
    Dense,
    Flatten,
    MaxPool,
    Parallel,
    ReLU,
    Sequential,
)
from stn_scratch.optimiser import SGD
from stn_scratch.sampling import sample_backward, sample_forward
from stn_scratch.sampling.kernels import Gaussian, Triangle
from stn_scratch.sampling.volume import (
    flatten_depth_backward,
    flatten_depth_forward,
    sample3d_backward,
    sample3d_forward,
)
from stn_scratch.training.step import train_step
from stn_scratch.transformer import SpatialTransformer
from stn_scratch.weights import load_weights
