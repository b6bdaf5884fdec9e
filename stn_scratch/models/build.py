"""From a name to a network with its first parameters, as large as a budget of parameters allows."""

from stn_scratch.backend import get_array_module, host_generator
from stn_scratch.grids import TRANSFORMATIONS
from stn_scratch.models import digits, house, parts, volume
from stn_scratch.network import AvgPool, Parallel, Sequential
from stn_scratch.parameters import unpack
from stn_scratch.sampling.kernels import KERNELS, Gaussian, Triangle
from stn_scratch.sampling.sampler import check_options
from stn_scratch.transformer import SpatialTransformer
from stn_scratch.validate import check_choice, check_heads, check_size, check_whole

MODELS = {**digits.MODELS, **parts.MODELS, **house.MODELS, **volume.MODELS}
# what a transformer can sample with: the kernels of fixed shape, and the two whose width it learns
SAMPLERS = {**{name: name for name in KERNELS}, "gaussian": Gaussian(), "triangle": Triangle()}
PARAMETERS = 400_000  # "around 400k" in every network of the paper's comparison, by memory of its appendix


def make_network(name, *, in_shape, width, classes=10, transform="affine", downsample=None, localisation_downsample=1,
                 kernel="bilinear", padding="zeros", lattice="right"):
    """The network `name` with `width` units or filters in the hidden layers of its classifier.

    downsample  average pooling between the first transformer and the classifier; None: 2 from 42 pixels on, as the
                paper has it for its 42- and 60-pixel data (RTS, TC), else 1, which is none
    localisation_downsample   average pooling of what each localisation network sees, before its own; 1 is none
    kernel      of every `SpatialTransformer` in it: a name of `SAMPLERS`
    padding, lattice   of every `SpatialTransformer`, as in `sample_forward`
    """
    check_choice("name", name, MODELS)
    check_choice("kernel", kernel, SAMPLERS)
    check_choice("transform", transform, TRANSFORMATIONS)
    check_options(SAMPLERS[kernel], padding, lattice)
    if downsample is None:
        downsample = 2 if min(in_shape[:2]) >= 42 else 1
    check_whole("downsample", downsample)
    check_whole("localisation_downsample", localisation_downsample)

    def spatial_transformer(localisation):
        net = localisation()
        if localisation_downsample > 1:
            net = Sequential(AvgPool(localisation_downsample, ceil=True), net)
        return SpatialTransformer(net, transform, kernel=SAMPLERS[kernel], padding=padding, lattice=lattice)

    classifier, transformers = MODELS[name]
    layers = []
    for k, layer in enumerate(classifier(width, classes)):
        if k in transformers:
            side_by_side = transformers[k] if isinstance(transformers[k], tuple) else (transformers[k],)
            spatial = [spatial_transformer(localisation) for localisation in side_by_side]
            layers.append(spatial[0] if len(spatial) == 1 else Parallel(*spatial))
            if k == 0 and downsample > 1:
                layers.append(AvgPool(downsample, ceil=True))
        layers.append(layer)
    return Sequential(*layers)


def build_model(name, *, in_shape, classes=10, transform="affine", seed=0, dtype="float32", parameters=PARAMETERS,
                **options):
    """A network of the paper and its first parameters, on the host.

    name        of `MODELS`: "fcn", "cnn", "st-fcn", "st-cnn", "mst-cnn", ...
    in_shape    (H, W, C) of one image, or (D, H, W, C) of a volume
    transform   of the ST networks: a name of `stn_scratch.grids.TRANSFORMATIONS`
    parameters  the budget: the hidden width is the one whose network comes closest to it
    options     `downsample`, `localisation_downsample`, `kernel`, `padding`, `lattice` of `make_network`

    Gives network, params. The same seed gives the same parameters. Raises ValueError for an unknown name or
    transformation, where the image is too small for the network, and where the budget is.
    """
    check_choice("dtype", dtype, ("float32", "float64"))
    check_whole("parameters", parameters)
    check_whole("classes", classes)
    check_whole("seed", seed, least=0)
    if not isinstance(in_shape, tuple | list) or len(in_shape) not in (3, 4):
        raise ValueError(f"in_shape must be (H, W, C) or (D, H, W, C), not {in_shape!r}")
    check_size("in_shape", in_shape, rank=len(in_shape))

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


def predict(network, params, x, *, batch=256, heads=None):
    """The class of each image of x (N, H, W, C), shape (N,), on x's device.

    heads: how many labels an image has, each with an equal part of the logits; gives (N, heads).
    """
    check_whole("batch", batch)
    shape = () if heads is None else (heads,)
    if heads is not None:
        check_whole("heads", heads)
    xp = get_array_module(x)
    parts = [xp.zeros((0, *shape), dtype=xp.intp)]
    for k in range(0, len(x), batch):
        logits, _ = network.forward(params, x[k:k + batch])
        if heads is not None:
            check_heads("heads", heads, logits)
        parts.append(logits.reshape(len(logits), *shape, -1).argmax(axis=-1))
    return xp.concatenate(parts)
