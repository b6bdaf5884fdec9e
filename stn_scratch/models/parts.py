"""Networks for images whose class is decided by small parts, after the paper's birds (Sec. 4.3, App. A.6).

The paper compares a network that sees the whole image at 224 pixels with 2 or 4 transformers that crop it from 448, so
that every network reads 224x224 pixels at a time. Here too: `parts-cnn` sees the image at half its resolution, and
the others see crops of half its width at full resolution. The paper's networks are Inceptions, pretrained on ImageNet;
these are small, and start from nothing.
"""

from stn_scratch.models.model import Model
from stn_scratch.network import AvgPool, Conv2D, Dense, Flatten, MaxPool, ReLU, Sequential
from stn_scratch.parts import PartTransformers


def descriptor(width):
    """Two 5x5 convolutions and a fully connected layer: what describes an image, or a crop.

    The last pooling is wide, as that of an Inception is: what a small part is like matters, hardly where it is.
    """
    return [Conv2D(width, 5), MaxPool(2, ceil=True), ReLU(), Conv2D(width, 5), MaxPool(5, ceil=True), ReLU(),
            Flatten(), Dense(width), ReLU()]


def whole(width, classes):
    """The image at half its resolution: one descriptor, and the classifier."""
    return [AvgPool(2, ceil=True), *descriptor(width), Dense(classes)]


def parts_localisation():
    """2x downsampled input, two 5x5x16 convolutions with 2x2 max-pooling, 32 units. It is ours.

    (The paper's is an Inception with a layer of 128 units behind it.)
    """
    return Sequential(AvgPool(2, ceil=True), Conv2D(16, 5), MaxPool(2, ceil=True), ReLU(), Conv2D(16, 5),
                      MaxPool(2, ceil=True), ReLU(), Flatten(), Dense(32), ReLU())


def two_parts(width, classes):
    """Two crops of half the image's width at full resolution, a descriptor of each, and the classifier."""
    return _cropped(2, width, classes)


def four_parts(width, classes):
    """The same with four crops."""
    return _cropped(4, width, classes)


def _cropped(parts, width, classes):
    return [PartTransformers(parts_localisation(), parts, Sequential(*descriptor(width))), Dense(classes)]


MODELS = {"parts-cnn": Model(whole), "2st-cnn": Model(two_parts), "4st-cnn": Model(four_parts)}
