"""Everything that a run depends on, checked, and kept as `config.json` in its folder."""

import json
import platform
from dataclasses import asdict, dataclass, fields
from importlib.metadata import PackageNotFoundError, version

from threadpoolctl import threadpool_info

from stn_scratch import cuda
from stn_scratch.data.tasks import TASKS
from stn_scratch.grids import TRANSFORMATIONS
from stn_scratch.models import MODELS, PARAMETERS, SAMPLERS
from stn_scratch.optimiser import SGD
from stn_scratch.sampling.sampler import LATTICE_RULES
from stn_scratch.training.files import replacing
from stn_scratch.validate import check_choice, check_whole


@dataclass
class Config:
    """One run. The values here are those of the recipe "short": see `RECIPES`."""

    model: str = "st-cnn"
    transform: str = "affine"
    data: str = "rts"
    digits: str = "auto"  # "auto", "mnist" or "embedded": see `load_digits`
    data_dir: str | None = None
    iterations: int = 3000
    batch: int = 256
    seed: int = 0
    device: str = "cpu"
    parameters: int = PARAMETERS
    downsample: int | None = None  # behind a transformer; None: the task's, as in the paper (A.4)
    localisation_downsample: int = 1  # of what a localisation network sees, before its own
    kernel: str = "bilinear"
    lattice: str = "right"
    lr: float = 0.05
    momentum: float = 0.9
    decay: str = "steps"  # of the rate: a tenth every decay_every steps, or "cosine": to 0 in decay_every steps
    decay_every: int | None = None  # None: a third of the iterations, as in the paper; for the cosine all of them
    warmup: int = 0  # first steps in which the rate rises
    localisation_factor: float = 0.2
    clip_norm: float | None = 5.0
    weight_decay: float = 0.0
    validation: float = 0.1  # the part of the training digits that is held out
    validate_every: int = 500
    checkpoint_every: int = 500
    log_every: int = 20
    threads: int | None = None  # None: one for each core of the machine that it runs on
    shard: int | None = None  # images; None: `parallel.shard_size`

    def __post_init__(self):
        check_choice("model", self.model, MODELS)
        check_choice("transform", self.transform, TRANSFORMATIONS)
        check_choice("data", self.data, TASKS)
        check_choice("digits", self.digits, ("auto", "mnist", "embedded"))
        check_choice("device", self.device, ("cpu", "gpu"))
        if self.downsample is None:
            self.downsample = TASKS[self.data].downsample
        check_choice("decay", self.decay, ("steps", "cosine"))
        check_choice("kernel", self.kernel, SAMPLERS)
        check_choice("lattice", self.lattice, LATTICE_RULES)
        for name in ("iterations", "batch", "parameters", "downsample", "localisation_downsample", "validate_every",
                     "checkpoint_every", "log_every"):
            check_whole(name, getattr(self, name))
        for name in ("threads", "shard"):
            if getattr(self, name) is not None:
                check_whole(name, getattr(self, name))
        check_whole("seed", self.seed, least=0)
        if not (isinstance(self.validation, float) and 0 < self.validation < 1):
            raise ValueError(f"validation must be a part of the digits, between 0 and 1, not {self.validation!r}")
        if self.decay_every is None:
            self.decay_every = self.iterations if self.decay == "cosine" else max(1, self.iterations // 3)
        check_whole("decay_every", self.decay_every)
        if not isinstance(self.data_dir, str | None):
            raise ValueError(f"data_dir must be a path, as text, not {self.data_dir!r}")
        self.optimiser()

    def network(self):
        """What `build_model` is given for the network that these values describe."""
        task = TASKS[self.data]
        return {"name": self.model, "in_shape": task.in_shape, "classes": task.classes * task.heads, "seed": self.seed,
                "transform": self.transform, "parameters": self.parameters, "downsample": self.downsample,
                "localisation_downsample": self.localisation_downsample, "kernel": self.kernel,
                "lattice": self.lattice}

    def optimiser(self):
        """The SGD that these values describe; raises ValueError if they describe none."""
        schedule = {"cosine" if self.decay == "cosine" else "decay_every": self.decay_every, "warmup": self.warmup}
        return SGD(self.lr, self.momentum, clip_norm=self.clip_norm, localisation_factor=self.localisation_factor,
                   weight_decay=self.weight_decay, **schedule)


# App. A.4; decay_every, a third of the iterations, is then the paper's 50,000.
PAPER = {"iterations": 150_000, "batch": 256, "lr": 0.01, "localisation_factor": 1.0, "clip_norm": None}
# "short" is ours, for a few thousand steps, in which the paper's rate does not come far; chosen on validation digits.
RECIPES = {"short": {name: getattr(Config, name) for name in PAPER}, "paper": PAPER}


def versions():
    """The versions that a result depends on."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in ("stn_scratch", "numpy", "cupy-cuda12x", "cupy-cuda13x"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    # a product of matrices differs in its last bits, and in speed, from one kernel of BLAS to another
    kernels = {library["architecture"] for library in threadpool_info() if library.get("architecture")}
    found["blas"] = ", ".join(sorted(kernels)) or "unknown"
    return found | ({"compiled kernels": "on"} if cuda.compiled_state().startswith("on") else {})


def save_config(path, config, **facts):
    """Write the configuration and what else is worth knowing, such as the digits' source and the parameter count."""
    text = json.dumps({"config": asdict(config), **facts, "versions": versions()}, indent=2)
    with replacing(path) as file:
        file.write(text.encode() + b"\n")


def load_config(path, kind=Config, what="a run"):
    """The `kind` of configuration in `path`. Raises FileNotFoundError or ValueError, one sentence, if there is none."""
    if not path.is_file():
        raise FileNotFoundError(_no_run(path.parent, path.name))
    try:
        values = json.loads(path.read_text())["config"]
        known = {field.name for field in fields(kind)}
        if not values.keys() <= known:
            raise KeyError(", ".join(sorted(values.keys() - known)))
        return kind(**values)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not the configuration of {what}: {error}") from None


def _no_run(folder, name):
    """What to say of a folder without the file `name`; the folder may hold the folders of several runs."""
    if not folder.is_dir():
        return f"{folder} holds no run: there is no such folder"
    runs = [str(path.parent) for path in sorted(folder.glob(f"*/{name}"))]
    if not runs:
        return f"{folder} holds no run: there is no {name} in it"
    more = f" and {len(runs) - 3} more" if len(runs) > 3 else ""
    return f"{folder} holds no run, but folders of runs: {', '.join(runs[:3])}{more}; name one of them"


# of these options the value that leaves a resumed run where it was: the digits that were found, and where they were
AS_BEFORE = {"digits": "auto", "data_dir": None}


def resume_config(stored, given):
    """The stored Config with what may change in a resumed run; `given`: the options of the command line, a dict.

    Raises ValueError if another option differs from what the run was started with.
    """
    values = asdict(stored)
    for name, value in given.items():
        if name in AS_BEFORE and value == AS_BEFORE[name]:
            continue
        if name not in ("iterations", "device", "threads", "data_dir") and value != values[name]:
            raise ValueError(f"{name} must stay {values[name]!r}, as the run was started, not {value!r}")
        values[name] = value
    return Config(**values)
