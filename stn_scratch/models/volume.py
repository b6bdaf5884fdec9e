"""Networks that say which digit is in a volume from one flat view of it (paper, App. A.3).

Both look along z at the flattened volume. `volume-cnn` takes it as it comes; `volume-st-cnn` first turns it with a 3-D
transformer. The paper gives no sizes of this network: they are ours.
"""

from stn_scratch.models.digits import cnn, cnn_localisation
from stn_scratch.models.model import Model
from stn_scratch.network import AvgPool, Parallel, Sequential
from stn_scratch.transformer3d import FlattenDepth, SpatialTransformer3D


def volume_localisation():
    """The three views of the volume, along z, y and x, as the channels of one image; then the paper's (A.4) of images.

    A digit's place and tilt show in them, and an image costs a sixtieth of its volume. (The volume must be a cube.)
    """
    views = Parallel(FlattenDepth("z"), FlattenDepth("y"), FlattenDepth("x"))
    return Sequential(views, *cnn_localisation().networks.values())


def flattened(width, classes):
    """The flattened volume, at half its resolution, as the paper's 60-pixel images are read."""
    return [FlattenDepth(), AvgPool(2, ceil=True), *cnn(width, classes)]


def turned(width, classes):
    """The volume transformed to 12x28x28 voxels, then flattened; at the start every fifth plane is read."""
    return [SpatialTransformer3D(volume_localisation(), size=(12, 28, 28)), FlattenDepth(spacing=5.0),
            *cnn(width, classes)]


MODELS = {"volume-cnn": Model(flattened), "volume-st-cnn": Model(turned)}
