"""The sampler: grid + U -> V, with its kernels and padding rules."""

from stn_scratch.sampling.sampler import sample_backward, sample_forward

__all__ = ["sample_backward", "sample_forward"]
