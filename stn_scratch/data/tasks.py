"""What a network can be trained on: images of one shape with their labels, drawn afresh or read from a file."""

from functools import partial
from typing import NamedTuple

from stn_scratch.data.addition import draw_addition
from stn_scratch.data.birds import SIDE, SPECIES, load_birds
from stn_scratch.data.cluttered import draw_as_is, draw_cluttered, hold_out_validation, load_cluttered
from stn_scratch.data.distort import DISTORTIONS, distort
from stn_scratch.data.fine_grained import CANVAS, CLASSES, draw_creatures, load_kinds
from stn_scratch.data.house import NULL, draw_strips
from stn_scratch.data.mnist import hold_out, load_digits
from stn_scratch.data.photographs import SIGN_CLASSES, SIGNS, draw_photographs, hold_out_groups, load_signs
from stn_scratch.data.svhn import load_svhn
from stn_scratch.data.volume import draw_volume


def load_mnist(data_dir, *, source):
    """MNIST, or the embedded digits: see `load_digits`."""
    return load_digits(data_dir, source=source)


class Task(NamedTuple):
    """Images and their labels.

    From n source images, such as digits, `draw` makes one image of the task: draw(rng, images (B, n, ...),
    labels (B, n)) -> x (B, *in_shape), and labels (B,), or (B, heads) of a task with several. Random numbers come from
    the host; x is on the images' device.
    """

    description: str
    in_shape: tuple  # of one image, (H, W, C), or of one volume, (D, H, W, C)
    draw: object
    classes: int = 10  # of each label
    heads: int = 1  # labels of one image; each has its own softmax
    null: int | None = None  # of several labels: the class of one that is not there
    sources: int = 1  # images that one is made of
    downsample: int = 1  # the paper's average pooling behind the transformer (A.4)
    load: object = load_mnist  # (data_dir, source=) -> Digits
    hold_out: object = hold_out  # (Digits, validation=) -> training images, labels, validation images, labels


def _distorted(name, rng, images, labels):
    return distort(name, rng, images[:, 0]), labels[:, 0]


TASKS = {name: Task(distortion.description, (distortion.canvas, distortion.canvas, 1), partial(_distorted, name),
                    downsample=2 if name in ("rts", "tc") else 1)
         for name, distortion in DISTORTIONS.items()}
TASKS |= {
    "addition": Task("two digits as in rts, each on a channel of its own; the label is their sum", (42, 42, 2),
                     draw_addition, classes=19, sources=2, downsample=2),
    "cluttered-40": Task("random place on 40x40 pixels, five 5x5 pieces of other digits as clutter", (40, 40, 1),
                         partial(draw_cluttered, canvas=40, patches=5)),
    "cluttered-60": Task("random place on 60x60 pixels, eleven 5x5 pieces of other digits as clutter", (60, 60, 1),
                         partial(draw_cluttered, canvas=60, patches=11), downsample=2),
    "cluttered-file": Task("10,000 cluttered digits of 40x40 pixels, from a file: name its folder by --data-dir",
                           (40, 40, 1), draw_as_is, load=load_cluttered, hold_out=hold_out_validation),
    "strips": Task("house numbers of MNIST digits: strips of one to five, turned, scaled, placed at random on 64x64",
                   (64, 64, 1), draw_strips, classes=11, heads=5, null=NULL, sources=5),
    "svhn": Task("photographs of house numbers, from SVHN's folders: name theirs by --data-dir", (64, 64, 3),
                 draw_photographs, classes=11, heads=5, null=NULL, load=load_svhn),
    "fine-grained": Task("64x64 creatures told apart by the stripes of two small parts: three kinds of head, of tail",
                         (CANVAS, CANVAS, 1), draw_creatures, classes=CLASSES, load=load_kinds),
    "cub": Task("photographs of 200 species of birds, from CUB-200-2011's folder: name it by --data-dir",
                (SIDE, SIDE, 3), draw_photographs, classes=SPECIES, load=load_birds, hold_out=hold_out_groups),
    "gtsrb": Task("photographs of traffic signs, from a file: name it by --data-dir", SIGNS, draw_photographs,
                  classes=SIGN_CLASSES, load=load_signs, hold_out=hold_out_groups),
    "volume": Task("a digit as a slab, turned by up to 45 degrees in space, at a random place of 60x60x60 voxels; "
                   "for volume-cnn and volume-st-cnn",
                   (60, 60, 60, 1), draw_volume),
}
