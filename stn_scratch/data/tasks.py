"""What a network can be trained on: images of one shape with their labels, drawn afresh or read from a file."""

from functools import partial
from typing import NamedTuple

from stn_scratch.data.distort import DISTORTIONS, distort
from stn_scratch.data.mnist import hold_out, load_digits


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
    sources: int = 1  # images that one is made of
    downsample: int = 1  # the paper's average pooling behind the transformer (A.4)
    load: object = load_mnist  # (data_dir, source=) -> Digits
    hold_out: object = hold_out  # (Digits, validation=) -> training images, labels, validation images, labels


def _distorted(name, rng, images, labels):
    return distort(name, rng, images[:, 0]), labels[:, 0]


TASKS = {name: Task(distortion.description, (distortion.canvas, distortion.canvas, 1), partial(_distorted, name),
                    downsample=2 if name in ("rts", "tc") else 1)
         for name, distortion in DISTORTIONS.items()}
