"""Before anything is timed: do both sides compute the same?"""

import numpy as np

TOLERANCE = {"float64": 1e-9, "float32": 1e-4}


class Disagreement(Exception):
    """Two contenders do not compute the same; the sentence says which, and by how much."""


def check_same(what, peer, ours, theirs, tolerance):
    """Raise Disagreement unless two arrays agree to `tolerance`, relative to the largest value. NaN never agrees."""
    if ours.shape != theirs.shape:
        raise Disagreement(f"{what}: not the same work: ours has shape {ours.shape}, {peer}'s {theirs.shape}")
    scale = float(np.abs(ours).max())
    off = float(np.abs(ours - theirs).max())
    if not off <= tolerance * scale:
        raise Disagreement(f"{what}: not the same work: ours and {peer}'s differ by {off:.2g}, where the largest value "
                           f"is {scale:.2g} and {tolerance:g} of it is allowed")
