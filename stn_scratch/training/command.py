"""The commands `train` and `evaluate`."""

import time
from dataclasses import fields
from pathlib import Path

from stn_scratch.data.tasks import TASKS
from stn_scratch.grids import TRANSFORMATIONS
from stn_scratch.models import MODELS, PARAMETERS, SAMPLERS, count_parameters
from stn_scratch.training import batches, loop, parallel
from stn_scratch.training.checkpoint import load_checkpoint
from stn_scratch.training.config import RECIPES, Config, load_config, resume_config
from stn_scratch.training.report import write_report
from stn_scratch.training.run_folder import CHECKPOINT, CONFIG, check_free


def _flag(name):
    """The option of a field of Config."""
    return f"--{name.replace('_', '-')}"


def epilog():
    """What the data are, and what a recipe stands for, in options."""
    lines = ["data:", *(f"  {name:15}{task.description}" for name, task in TASKS.items()), "",
             "recipes (the paper's takes hours):"]
    for recipe, values in RECIPES.items():
        options = (f"{_flag(name)} {value:g}" for name, value in values.items() if value is not None)
        lines.append(f"  {recipe:6} {' '.join(options)}")
    return "\n".join(lines)


def add_options(parser):
    """The options of `python -m stn_scratch train`."""
    add = parser.add_argument
    add("--model", nargs="+", choices=MODELS, help="one or several of them (default st-cnn)")
    add("--transform", choices=TRANSFORMATIONS, help="of an ST network (default affine)")
    add("--data", choices=TASKS, help="what to learn, see below (default rts)")
    add("--recipe", choices=RECIPES, help="how it is trained, see below; single options override it (default short)")
    add("--iterations", type=int, help="steps (default: the recipe's)")
    add("--batch", type=int, help="images in one step (default: the recipe's)")
    add("--seed", type=int, help="of parameters, batches, validation and test images (default 0)")
    add("--device", choices=("cpu", "gpu"), help="(default cpu)")
    add("--data-dir", help="a folder with MNIST's four .gz files (or the environment variable STN_DATA), or what the "
        "data say below")
    add("--digits", choices=("auto", "mnist", "embedded"), help="auto: MNIST, or the embedded digits when offline")
    add("--out", type=Path, help="the run's folder (default runs/MODEL-DATA-SEED)")
    either = parser.add_mutually_exclusive_group().add_argument
    either("--resume", action="store_true", help="go on with an interrupted run")
    either("--overwrite", action="store_true", help="throw away a run that stands in the folder")
    add("--parameters", type=int, help=f"the networks' size (default {PARAMETERS})")
    add("--lr", type=float, help="learning rate (default: the recipe's)")
    add("--momentum", type=float, help=f"(default {Config.momentum})")
    add("--decay", choices=("steps", "cosine"), help="of the rate: in steps of a tenth, or as half a cosine to 0")
    add("--decay-every", type=int, help="steps after which the rate is a tenth (default a third of "
        "all) or, as a cosine, 0 (default all)")
    add("--warmup", type=int, help="first steps in which the rate rises (default 0)")
    add("--localisation-factor", type=float, help="on the rate of localisation networks (default: the recipe's)")
    add("--clip-norm", type=float, help="the longest gradient allowed (default: the recipe's)")
    add("--weight-decay", type=float, help="of all parameters (default 0)")
    halved = ", ".join(name for name, task in TASKS.items() if task.downsample == 2)
    add("--downsample", type=int, help=f"average pooling behind the first transformer (default 2 for {halved}; else 1)")
    add("--localisation-downsample", type=int, help="average pooling of what a localisation network sees, before its "
        "own (default 1, none)")
    add("--kernel", choices=SAMPLERS, help="the sampler's; gaussian, triangle: of learnt width (default bilinear)")
    add("--lattice", choices=("right", "central"), help="the sampler's slope on a pixel (default right)")
    add("--validation", type=float, help=f"part of the training digits held out (default {Config.validation})")
    add("--validate-every", type=int, help=f"(default {Config.validate_every} steps)")
    add("--checkpoint-every", type=int, help=f"(default {Config.checkpoint_every} steps)")
    add("--threads", type=int, help="that work on one step (default one for each core)")
    add("--shard", type=int, help="images that a thread works on at once (default at most "
        f"{parallel.LARGEST_SHARD}, a part for each thread)")


def _check_effect(models, given):
    """Raises ValueError for an option of `SpatialTransformer`s that none of the models has."""
    if None in models or any(MODELS[name].transformers for name in models):
        return
    for name in ("transform", "downsample", "localisation_downsample", "kernel", "lattice"):
        if name in given:
            raise ValueError(f"{name} must be left out, for it has no effect on {' or '.join(models)}")


def _train_one(model, out, *, resume, overwrite, **given):
    """Train one model -> a line of the table."""
    if resume:
        stored = load_config(out / CONFIG)
        if not (out / CHECKPOINT).exists():
            raise FileNotFoundError(f"{out} holds a run that was stopped before its first checkpoint: begin again with "
                                    "--overwrite")
        config = resume_config(stored, {"model": model, **given} if model else given)
        if config.iterations != stored.iterations:
            falls = "falls to 0 in the first" if config.decay == "cosine" else "is divided by ten every"
            print(f"{config.iterations} steps, where the run was started for {stored.iterations}: the learning rate "
                  f"still {falls} {config.decay_every}")
    else:
        config = Config(**{**given, "model": model or Config.model})
        if not overwrite:
            check_free(out, otherwise="name another folder by --out")
    began = time.perf_counter()
    run, error, images = loop.start(config, out, resume=resume)
    seconds = time.perf_counter() - began
    paths = _pictures(run)
    print(f"test error: {error:.2f} % ({images} images)", flush=True)
    # of a network without a transformer there is no grids.png
    looks = paths[-1] if any(Path(path).name == "grids.png" for path in paths) else "-"
    return config.model, count_parameters(run.params), error, seconds, looks


def _pictures(run):
    """Draw the run's pictures, the first of several processes for all; their paths."""
    paths = write_report(run) if parallel.ranks().rank == 0 else ["-"]
    print("pictures:", ", ".join(map(str, paths)))
    return paths


def train(*, model=(None,), out=None, resume=False, overwrite=False, recipe=None, **given):
    """Train the models one after the other with the same options. `given`: the fields of Config."""
    # without a recipe a new run has Config's values, which are those of "short", and a resumed one its own
    given = RECIPES.get(recipe, {}) | given
    _check_effect(model, given)
    table = []
    for name in model:
        shown = name or Config.model
        folder = out or Path("runs") / f"{shown}-{given.get('data', Config.data)}-{given.get('seed', Config.seed)}"
        if out and len(model) > 1:
            folder = out / shown
        # of several models, the later ones may not have come to a checkpoint when the run was interrupted
        goes_on = resume and (len(model) == 1 or (folder / CHECKPOINT).exists())
        table.append(_train_one(name, folder, resume=goes_on, overwrite=overwrite or resume, **given))
    if len(table) > 1:
        print(f"\n{'model':<10}{'parameters':>12}{'test error':>14}{'seconds':>10}   what it looks at")
        for shown, parameters, error, seconds, looks in table:
            print(f"{shown:<10}{parameters:>12,}{error:>12.2f} %{seconds:>10.0f}   {looks}")


def evaluate(*, run, data_dir, device):
    """Test the network of a run folder on the run's own test images."""
    config = resume_config(load_config(run / CONFIG), {"device": device, "data_dir": data_dir})
    loaded, source = loop.prepare(config, run)
    step, _ = load_checkpoint(run / CHECKPOINT, loaded.params)
    error, images = loop.error_on(loaded, batches.TEST)
    print(f"{config.model}, {count_parameters(loaded.params):,} parameters, after step {step}, on {source}")
    try:
        _pictures(loaded)
    finally:  # a folder that cannot be written takes nothing from the figure
        print(f"test error: {error:.2f} % ({images} images)")


def in_options(sentence):
    """A sentence about a field of Config, such as `clip_norm must be ...`, as one about the option that set it."""
    name, _, rest = sentence.partition(" must ")
    return f"{_flag(name)} must {rest}" if name in {field.name for field in fields(Config)} else sentence
