"""The networks of the paper's distorted MNIST (Sec. 4.1, App. A.4), as plain functions.

Every network has three weight layers in its classifier. `width`, the units or filters of a hidden layer, is what is
free: `build_model` chooses it so that all networks of a comparison hold the same number of parameters.
"""

from stn_scratch.models.model import Model
from stn_scratch.network import AvgPool, Conv2D, Dense, Flatten, MaxPool, ReLU, Sequential


def fcn(width, classes):
    """Two fully connected hidden layers and the classifier."""
    return [Flatten(), Dense(width), ReLU(), Dense(width), ReLU(), Dense(classes)]


def cnn(width, classes):
    """9x9 convolution, 2x2 max-pooling, 7x7 convolution, 2x2 max-pooling, classifier (A.4)."""
    return [*_convolution(width, 9), *_convolution(width, 7), Flatten(), Dense(classes)]


def _convolution(width, size):
    """size x size convolution and 2x2 max-pooling.

    ReLU stands after the pooling: the maximum of rectified values is the rectified maximum, at a quarter of the work.
    Pooling keeps incomplete windows: only so does the paper's 42-pixel network fit together after its 2x downsampling.
    """
    return [Conv2D(width, size), MaxPool(2, ceil=True), ReLU()]


def fcn_localisation():
    """Three fully connected hidden layers (A.4); their width, 32, is ours."""
    return Sequential(Flatten(), Dense(32), ReLU(), Dense(32), ReLU(), Dense(32), ReLU())


def cnn_localisation():
    """2x downsampled input, 5x5x20 convolution, 2x2 max-pooling, 5x5x20 convolution, 20 units (A.4)."""
    return Sequential(AvgPool(2, ceil=True), Conv2D(20, 5), MaxPool(2, ceil=True), ReLU(), Conv2D(20, 5), ReLU(),
                      Flatten(), Dense(20), ReLU())


def feature_localisation():
    """Two fully connected hidden layers of 32 units, as the paper has them between convolutions (Sec. 4.2).

    The 2x downsampling before them is ours: without it they would hold most of the network's parameters.
    """
    return Sequential(AvgPool(2, ceil=True), Flatten(), Dense(32), ReLU(), Dense(32), ReLU())


MODELS = {
    "fcn": Model(fcn),
    "cnn": Model(cnn),
    "st-fcn": Model(fcn, {0: fcn_localisation}),
    "st-cnn": Model(cnn, {0: cnn_localisation}),
    "mst-cnn": Model(cnn, {0: cnn_localisation, 3: feature_localisation}),  # before each convolution
    "2st-fcn": Model(fcn, {0: (fcn_localisation, fcn_localisation)}),  # of MNIST addition (A.1): side by side
}
