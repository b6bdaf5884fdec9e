"""Where images come from: the public names, nothing else."""

from stn_scratch.data.mnist import Digits, hold_out, load_digits

__all__ = ["Digits", "hold_out", "load_digits"]
