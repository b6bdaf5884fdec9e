"""The networks of the paper's house numbers (Sec. 4.2, App. A.5), scaled down: half as deep, an eighth as wide.

Convolutions are 5x5 and keep the size of their map, as the paper's do. What is free, `width`, are the units of the two
fully connected layers, where the paper, too, has most of its parameters: so every network of a comparison has the same
convolutions. The logits of the five digits stand side by side. The paper's dropout is left out.
"""

from stn_scratch.models.model import Model
from stn_scratch.network import AvgPool, Conv2D, Dense, Flatten, MaxPool, ReLU, Sequential


def house_cnn(width, classes):
    """The first four of the paper's eight convolutions, with an eighth of its filters, then two fully connected layers.

    Its third pooling stands one convolution later.
    """
    return [*_convolution(6, pool=True), *_convolution(8), *_convolution(16, pool=True), *_convolution(20, pool=True),
            Flatten(), Dense(width), ReLU(), Dense(width), ReLU(), Dense(classes)]


def _convolution(filters, *, pool=False):
    return [Conv2D(filters, 5, padding=2), *([MaxPool(2, ceil=True)] if pool else []), ReLU()]


def single_localisation():
    """Two convolutions and two fully connected layers: the paper's four-layer CNN with a quarter of its filters.

    The 2x downsampling before and the pooling after its convolutions are ours.
    """
    return Sequential(AvgPool(2, ceil=True), Conv2D(8, 5, padding=2), MaxPool(2, ceil=True), ReLU(),
                      Conv2D(8, 5, padding=2), MaxPool(2, ceil=True), ReLU(), Flatten(), Dense(32), ReLU(), Dense(32),
                      ReLU())


def multi_localisation(pool):
    """Two fully connected layers of 32 units, as the paper has them; the average pooling before them is ours."""
    return lambda: Sequential(AvgPool(pool, ceil=True), Flatten(), Dense(32), ReLU(), Dense(32), ReLU())


MODELS = {
    "house-cnn": Model(house_cnn),
    "house-st-single": Model(house_cnn, {0: single_localisation}),
    # before each convolution
    "house-st-multi": Model(house_cnn, {0: multi_localisation(8), 3: multi_localisation(8), 5: multi_localisation(8),
                                        8: multi_localisation(4)}),
}
