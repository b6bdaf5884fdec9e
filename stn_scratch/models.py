"""The networks of the paper's distorted MNIST (Sec. 4.1, App. A.4), as plain functions that return a network.

Every network has three weight layers in its classifier. `width`, the units or filters of a hidden layer, is what is
free: `build_model` chooses it so that all networks of a comparison hold the same number of parameters.
"""

from typing import NamedTuple

from stn_scratch.backend import get_array_module, host_generator
from stn_scratch.grids import TRANSFORMATIONS
from stn_scratch.network import AvgPool, Conv2D, Dense, Flatten, MaxPool, ReLU, Sequential
from stn_scratch.parameters import unpack
from stn_scratch.sampling.kernels import KERNELS, Gaussian, Triangle
from stn_scratch.transformer import SpatialTransformer
from stn_scratch.validate import check_choice, check_size, check_whole


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


class Model(NamedTuple):
    classifier: object  # (width, classes) -> its layers
    transformers: dict  # number of the layer before which a transformer stands -> its localisation network


MODELS = {
    "fcn": Model(fcn, {}),
    "cnn": Model(cnn, {}),
    "st-fcn": Model(fcn, {0: fcn_localisation}),
    "st-cnn": Model(cnn, {0: cnn_localisation}),
    "mst-cnn": Model(cnn, {0: cnn_localisation, 3: feature_localisation}),  # before each convolution
}
# what a transformer can sample with: the kernels of fixed shape, and the two whose width it learns
SAMPLERS = {**{name: name for name in KERNELS}, "gaussian": Gaussian(), "triangle": Triangle()}
PARAMETERS = 400_000  # "around 400k" in every network of the paper's comparison, by memory of its appendix


def make_network(name, *, in_shape, width, classes=10, transform="affine", downsample=None, kernel="bilinear",
                 **options):
    """The network `name` with `width` units or filters in the hidden layers of its classifier.

    downsample  average pooling between the first transformer and the classifier, 1 or 2; None: 2 from 42 pixels on, as
                the paper has it for its 42- and 60-pixel data (RTS, TC)
    kernel      of every `SpatialTransformer` in it: a name of `SAMPLERS`
    options     of every `SpatialTransformer`: padding, lattice
    """
    check_choice("name", name, MODELS)
    check_choice("kernel", kernel, SAMPLERS)
    check_choice("transform", transform, TRANSFORMATIONS)
    if downsample is None:
        downsample = 2 if min(in_shape[:2]) >= 42 else 1
    check_whole("downsample", downsample)
    classifier, transformers = MODELS[name]
    layers = []
    for k, layer in enumerate(classifier(width, classes)):
        if k in transformers:
            layers.append(SpatialTransformer(transformers[k](), transform, kernel=SAMPLERS[kernel], **options))
            if k == 0 and downsample > 1:
                layers.append(AvgPool(downsample, ceil=True))
        layers.append(layer)
    return Sequential(*layers)


def build_model(name, *, in_shape, classes=10, transform="affine", seed=0, dtype="float32", parameters=PARAMETERS,
                **options):
    """A network of the paper and its first parameters, on the host.

    name        of `MODELS`: "fcn", "cnn", "st-fcn", "st-cnn", "mst-cnn"
    in_shape    (H, W, C) of one image
    transform   of the ST networks: a name of `stn_scratch.grids.TRANSFORMATIONS`
    parameters  the budget: the hidden width is the one whose network comes closest to it
    options     `downsample`, `kernel`, `padding`, `lattice` of `make_network`

    Gives network, params. The same seed gives the same parameters. Raises ValueError for an unknown name or
    transformation, where the image is too small for the network, and where the budget is.
    """
    check_choice("dtype", dtype, ("float32", "float64"))
    check_whole("parameters", parameters)
    check_whole("classes", classes)
    if not isinstance(in_shape, tuple | list) or len(in_shape) != 3:
        raise ValueError(f"in_shape must be (H, W, C), not {in_shape!r}")
    check_size("in_shape", in_shape, rank=3)

    def initialise(width):
        network = make_network(name, in_shape=in_shape, width=width, classes=classes, transform=transform, **options)
        return network, network.init(host_generator(seed), in_shape)[0]

    network, params = initialise(_width_for(parameters, lambda width: count_parameters(initialise(width)[1])))
    return network, unpack(params.flat.astype(dtype), params)


def _width_for(parameters, count):
    """The hidden width whose network comes closest to so many parameters; count(width) is a quadratic polynomial."""
    one, two, three = (count(width) for width in (1, 2, 3))
    a = (three - 2 * two + one) / 2
    b = two - one - 3 * a
    c = one - a - b - parameters
    root = (-b + max(0, b * b - 4 * a * c) ** 0.5) / (2 * a)
    if root < 0.5:
        raise ValueError(f"parameters must be at least {one}, the size of the smallest such network, not {parameters}")
    return min((max(1, int(root)), int(root) + 1), key=lambda width: abs(a * width * width + b * width + c))


def count_parameters(params):
    """How many numbers a network learns."""
    return params.flat.size


def predict(network, params, x, *, batch=256):
    """The class of each image of x (N, H, W, C), shape (N,), on x's device."""
    xp = get_array_module(x)
    parts = [network.forward(params, x[k:k + batch])[0].argmax(axis=1) for k in range(0, len(x), batch)]
    return xp.concatenate(parts) if parts else xp.zeros(0, dtype=xp.intp)
