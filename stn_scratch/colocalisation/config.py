"""Everything that one co-localisation depends on."""

from dataclasses import dataclass

from stn_scratch.optimiser import SGD
from stn_scratch.validate import check_choice, check_flag, check_number, check_whole


@dataclass
class Config:
    """One class of digits to be found. alpha, images and kinds of layers are the paper's; the rest is ours.

    What is ours was chosen by runs on held-out training digits, those of digits_of="validation". `learning.py` says
    what coarse to fine is good for; how slowly it goes decides: among clutter, in a third of these steps from the first
    scale to the last, windows end up beside the digits.
    """

    encoder: str  # the folder of a run of `train --model cnn --data none`
    label: int = 0
    clutter: bool = False  # TC; else T
    digits_of: str = "test"  # which of MNIST's digits are to be found: "test" or "validation"
    data_dir: str | None = None  # None: where the encoder's run had its digits from
    seed: int = 0
    device: str = "cpu"
    images: int = 100
    filters: int = 8  # of the localiser's convolution
    width: int = 128  # of its two fully connected layers: see `localiser`
    alpha: float = 1.0
    code_scales: tuple = (0.0, 0.0, 0.06)  # of the three layers of the code: see `Encoder`
    iterations: int = 1600
    pairs: int = 32  # of images, in one step
    lr: float = 0.4
    momentum: float = 0.9
    cosine: int | None = None  # steps in which the rate falls to 0; None: all. Where s is learnt they are short
    clip_norm: float | None = 0.01  # shorter than nearly every gradient: steps are of one length, blurred or sharp
    scales: tuple = (1.5, 0.32)  # s of all windows at first, and when they are let go, nearly that of a digit's frame
    place: int = 400  # first steps, at the first of these; then s goes down to the second ...
    shrink: int = 1000  # ... in so many steps, and from then on is learnt
    blur: float = 1.2  # pixels of blur for each pixel that a window skips between two samples
    focus_every: int = 10  # steps, after which the blur is measured again; later, windows moved onto what they show
    log_every: int = 40
    checkpoint_every: int = 100

    def __post_init__(self):
        if not isinstance(self.encoder, str):
            raise ValueError(f"encoder must be a path, as text, not {self.encoder!r}")
        if not isinstance(self.data_dir, str | None):
            raise ValueError(f"data_dir must be a path, as text, not {self.data_dir!r}")
        check_flag("clutter", self.clutter)
        check_choice("digits_of", self.digits_of, ("test", "validation"))
        check_choice("device", self.device, ("cpu", "gpu"))
        for name in ("seed", "label", "place", "shrink"):
            check_whole(name, getattr(self, name), least=0)
        for name in ("images", "filters", "width", "iterations", "pairs", "focus_every", "log_every",
                     "checkpoint_every"):
            check_whole(name, getattr(self, name))
        for name in ("alpha", "blur"):
            check_number(name, getattr(self, name))
        self.code_scales, self.scales = tuple(self.code_scales), tuple(self.scales)  # JSON makes them lists
        if len(self.code_scales) != 3:
            raise ValueError(f"code_scales must be three numbers, one a layer of the code, not {self.code_scales!r}")
        if len(self.scales) != 2:
            raise ValueError(f"scales must be two numbers, the first and the last, not {self.scales!r}")
        for scale in self.code_scales:
            check_number("code_scales", scale)
        for scale in self.scales:
            check_number("scales", scale, positive=True)
        if self.cosine is None:
            self.cosine = self.iterations
        self.optimiser()

    def optimiser(self):
        """The SGD that these values describe; raises ValueError if they describe none."""
        return SGD(self.lr, self.momentum, cosine=self.cosine, clip_norm=self.clip_norm)

    def held_scale(self, step):
        """s of all windows in a step, counted from 1; None from where it is learnt."""
        if step > self.place + self.shrink:
            return None
        first, last = self.scales
        return first * (last / first) ** (max(0, step - self.place) / max(1, self.shrink))

    def recentred(self, step):
        """Whether all windows are moved together after a step, to the image's middle: as they begin to shrink, and
        halfway.
        """
        return step in (self.place, self.place + self.shrink // 2)

    def adjusted(self, step):
        """Whether all windows are moved together after a step, onto what they show: now and then from where s is
        learnt.
        """
        return step >= self.place + self.shrink and step % self.focus_every == 0
