"""The rows of the paper's tables, and of its readers', as data: what is trained on what, and what the paper reports."""

from fnmatch import fnmatch
from typing import NamedTuple

ENCODER = "none/cnn"  # the row whose CNN compares windows in co-localisation


class Row(NamedTuple):
    """One cell of a table: a network on data."""

    name: str
    table: str  # a key of TABLES
    line: str  # of the table: the network and its transformation ...
    column: str  # ... and the data
    options: dict  # fields of its Config that make it what it is, whatever the schedule
    paper: float | None = None  # the error in per cent that the paper reports, by its schedule and parameters
    schedules: dict = {}  # noqa: RUF012  {schedule: fields of Config that this row changes in it}
    task: str = "classify"  # or "colocalise"

    def goes_by(self, schedule):
        """Whether the row can be trained by it. Co-localisation has steps of its own, and goes by `first` alone."""
        return self.task == "classify" or schedule == "first"


class Table(NamedTuple):
    title: str
    text: str  # what is learned, and what in it is the paper's and what ours


TABLES = {
    "distorted": Table("Distorted MNIST (Sec. 4.1, Table 1)", """
Digits rotated (R), rotated, scaled and translated (RTS), in perspective (P), elastic (E), on 42 x 42 pixels; one image
of each of the 10,000 test digits. The canvas of R, P and E, and the pixels in which E's distortion is counted, are
ours."""),
    "clutter": Table("Translated digits in clutter, 60 x 60 (Sec. 4.1, TC)", """
A digit at a random place, and six 6 x 6 pieces of other digits. The paper does not say which transformation it used;
ours is affine."""),
    "readers": Table("Cluttered MNIST (the paper's readers)", """
`cluttered-file`: a file of 10,000 training, 1,000 validation and 1,000 test images of 40 x 40 pixels that several of
the paper's readers used, `mnist_sequence1_sample_5distortions5x5.npz` from the folder data of
github.com/daviddao/spatial-transformer-tensorflow; its rows want it in `DIR/cluttered_mnist`, and `--data-dir DIR`.
For another set of such digits, its own, matconvnet reports 5.7 % with a transformer and 14.2 % without. The readers
trained 5,000 to 50,000 steps.
`cluttered-40`, `cluttered-60`: our own generator, with digits anywhere on the canvas. `mst-cnn` has a transformer
before each of its two convolutions."""),
    "addition": Table("MNIST addition (App. A.1)", """
Two digits, each distorted as in RTS, on a channel of its own; the label is their sum, one of 19. `2st-fcn`: two
transformers side by side, each of both channels. That the paper's 18.5 % with one transformer is that of the projective
one, and 19.1 % that of the thin-plate spline, is from memory. By `better`, `2st-fcn` is trained for 0.3 of the paper's
steps, without weight decay, with localisation networks that see the image at half the resolution and a classifier that
sees what they look at in 14 x 14 pixels: of the same 400,000 parameters it then has 304 units a layer, not 90."""),
    "colocalisation": Table("Co-localisation (App. A.2, Table 5)", """
100 images that share a digit, without labels or boxes; the figure is the share in per cent of digits that were *not*
localised, by an intersection over union of more than 0.5. T: a digit anywhere on 84 x 84 pixels; TC: with 16 pieces of
other digits. The paper localises all in T and 75 to 93 % in TC. Its localiser has two dense layers of 8 units and
100,000 parameters, which do not go together: ours has 128 units, and as many parameters. The windows are compared by
the class layer of `none/cnn`, a CNN trained on undistorted digits; the paper's by its hidden layers, too. Going from
coarse to fine is ours, down to nearly the size of a digit's frame, and so is moving all windows together onto what they
show in the mean, for where in a window the digit stands the loss leaves open."""),
    "parts": Table("Several transformers side by side (Sec. 4.3, the birds)", """
The mechanism, not the paper's number: CUB-200 and a trained Inception are not part of this. Two or four attention
transformers of fixed scale 0.5, placed by one localisation network, and a small CNN for each; `parts-cnn` reads the
whole image at half the resolution. `fine-grained`: creatures of our own making, told apart by two small parts;
`gtsrb`: traffic signs of 43 kinds, a tenth of the German benchmark on 32 x 32 pixels (of at most 40 signs a kind the
frames 9, 19 and 29, and of each kind's test images the first 60): not to be compared with its published results. Its
rows want them as the .npz that `data/photographs.py` describes, in `DIR/gtsrb`, and `--data-dir DIR`."""),
    "house": Table("House numbers (Sec. 4.2)", """
Strips of one to five MNIST digits, turned, scaled and placed at random on 64 x 64 pixels, read by five softmaxes; the
error is that of whole sequences. SVHN itself is not part of this (`--data svhn` reads it); on it the paper reports 4.0,
3.7 and 3.6 % for the CNN, for one transformer and for four. Its weight decay and dropout (A.5) are left out here."""),
    "volume": Table("A digit in space (App. A.3)", """
An extruded digit, turned and placed at random in 60 x 60 x 60 voxels, seen flattened; the transformer turns the volume
before it is flattened. The paper gives no figure."""),
}

DISTORTIONS = ("r", "rts", "p", "e")
TABLE_1 = {  # errors of the paper for each of them
    ("fcn", None): (2.1, 5.2, 3.1, 3.2),
    ("cnn", None): (1.2, 0.8, 1.5, 1.4),
    ("st-fcn", "affine"): (1.2, 0.8, 1.5, 2.7),
    ("st-fcn", "projective"): (1.3, 0.9, 1.4, 2.6),
    ("st-fcn", "tps"): (1.1, 0.8, 1.4, 2.4),
    ("st-cnn", "affine"): (0.7, 0.5, 0.8, 1.2),
    ("st-cnn", "projective"): (0.8, 0.6, 0.8, 1.3),
    ("st-cnn", "tps"): (0.7, 0.5, 0.8, 1.1),
}
CLUTTER = {("fcn", None): 13.2, ("cnn", None): 3.5, ("st-fcn", "affine"): 2.0, ("st-cnn", "affine"): 1.7}
ADDITION = {("fcn", None): 47.7, ("cnn", None): 14.7,
            ("st-fcn", "affine"): 22.6, ("st-fcn", "projective"): 18.5, ("st-fcn", "tps"): 19.1,
            ("2st-fcn", "affine"): 9.0, ("2st-fcn", "projective"): 5.9, ("2st-fcn", "tps"): 5.8}
# What our own schedules do otherwise for some data; chosen on validation images, in short runs.
CLUTTERED = {"parameters": 60_000, "batch": 100, "lr": 0.03, "warmup": 100}
SETTINGS = {
    "cluttered-file": CLUTTERED, "cluttered-40": CLUTTERED,
    "cluttered-60": CLUTTERED | {"parameters": 100_000},  # the localisation network alone takes 42,000 of them
    "fine-grained": {"parameters": 60_000, "localisation_factor": 0.01},
    "gtsrb": {"parameters": 100_000, "batch": 64, "localisation_factor": 0.01},
    "strips": {"parameters": 200_000, "batch": 128, "lr": 0.02, "localisation_factor": 0.1},
    "volume": {"parameters": 400_000, "batch": 32, "warmup": 300, "localisation_factor": 0.1, "validation": 0.02},
}
# What `better` does otherwise for a network whose steps are quick and which by half of them has not learnt enough: its
# training error is no lower than its test error. On all pixels of two channels, its two localisation networks take more
# than half of its parameters; on a quarter of them, with 14 x 14 pixels behind them, the classifier has 304 units a
# layer instead of 90.
BETTER = {"2st-fcn": {"iterations": 45_000, "weight_decay": 0.0, "downsample": 3, "localisation_downsample": 2}}
OURS = ("first", "longer", "better", "half")


def _row(table, data, model, transform=None, paper=None):
    options = {"model": model, "data": data} | ({"transform": transform} if transform else {})
    line = " ".join(filter(None, (model, transform)))
    settings = dict.fromkeys(OURS, SETTINGS.get(data, {}))
    settings["better"] = settings["better"] | BETTER.get(model, {})
    return Row(f"{data}/{line.replace(' ', '-')}", table, line, data.upper(), options, paper, settings)


def _rows():
    for k, data in enumerate(DISTORTIONS):
        yield from (_row("distorted", data, *network, errors[k]) for network, errors in TABLE_1.items())
    yield from (_row("clutter", "tc", *network, error) for network, error in CLUTTER.items())
    for data in ("cluttered-file", "cluttered-40", "cluttered-60"):
        yield from (_row("readers", data, *network)
                    for network in (("cnn",), ("st-cnn", "affine"), ("mst-cnn", "affine")))
    yield from (_row("addition", "addition", *network, error) for network, error in ADDITION.items())
    yield from (_row("parts", data, model) for data in ("fine-grained", "gtsrb")
                for model in ("parts-cnn", "2st-cnn", "4st-cnn"))
    yield from (_row("house", "strips", model) for model in ("house-cnn", "house-st-single", "house-st-multi"))
    yield from (_row("volume", "volume", model) for model in ("volume-cnn", "volume-st-cnn"))
    yield Row(ENCODER, "colocalisation", "cnn, classifying", "28 x 28", {"model": "cnn", "data": "none"})
    for column, clutter in (("T", False), ("TC", True)):
        for digit in range(10):
            yield Row(f"localise/{column.lower()}-{digit}", "colocalisation", f"digit {digit}", column,
                      {"label": digit, "clutter": clutter}, None if clutter else 0.0, task="colocalise")


ROWS = {row.name: row for row in _rows()}


def chosen(patterns):
    """The rows whose names fit one of the patterns, such as "rts/st-cnn-*", in the order of `ROWS`.

    Raises ValueError for a pattern that no name fits.
    """
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in ROWS):
            raise ValueError(f"there is no experiment {pattern!r}; `experiments --list` names them")
    return [row for name, row in ROWS.items() if any(fnmatch(name, pattern) for pattern in patterns)]
