"""A run: train, validate, save, test. All of it stands in one folder and goes on from there after an interruption."""

import os
import time
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stn_scratch.backend import get_array_module, on_host, to_device, to_host, use_gpu
from stn_scratch.data.tasks import TASKS
from stn_scratch.models import build_model
from stn_scratch.parameters import leaves, unpack
from stn_scratch.training import batches, parallel, step
from stn_scratch.training.checkpoint import load_checkpoint, save_checkpoint
from stn_scratch.training.config import save_config
from stn_scratch.training.progress import Progress
from stn_scratch.training.run_folder import CHECKPOINT, CONFIG, last_checkpoint, locked, log, open_folder
from stn_scratch.training.stopping import asked_to_stop


class Run(NamedTuple):
    config: object
    folder: Path
    network: object
    params: object
    optimiser: object
    splits: dict


class Interrupted(Exception):
    """The run was stopped by Ctrl-C or SIGTERM, after saving."""


class NotFinite(Exception):
    """A loss or a gradient turned NaN or infinite; the sentence names the step, the layer and the last checkpoint."""


def prepare(config, folder):
    """Load the images, build the network and its optimiser, on the configured device."""
    ranks, task = parallel.ranks(), TASKS[config.data]
    if config.device == "gpu":
        use_gpu(ranks.local)  # each process has its own
    # of several processes only one downloads
    digits = ranks.one_first(lambda: task.load(config.data_dir, source=config.digits))
    # a run goes on with the digits that were found here, from whatever folder it is resumed
    if config.digits == "auto":
        config = replace(config, digits="embedded" if digits.source.startswith("embedded") else "mnist")
    if config.data_dir is not None:
        config = replace(config, data_dir=os.path.abspath(config.data_dir))
    network, params = build_model(**config.network())
    if config.device == "gpu":
        params = unpack(to_device(params.flat), params)
    splits = batches.splits(digits, config.data, validation=config.validation, device=config.device)
    run = Run(config, Path(folder), network, params, config.optimiser(), splits)
    return run, digits.source


def start(config, folder, *, resume=False, progress=True):
    """Train to the end of `config`, from the folder's checkpoint with `resume`, else from the beginning.

    A run that stands in the folder is replaced when this one is ready to begin, unless it is resumed.
    Gives the Run, its test error in per cent and the number of test images. Raises Interrupted after Ctrl-C, NotFinite,
    and OSError, RuntimeError or ValueError, one sentence, for a folder or a file that cannot be used. Of several
    processes that mpirun started each takes its part of every batch; all give the same, but the first alone writes into
    the folder.
    """
    ranks = parallel.ranks()
    ranks.part(config.batch)  # refuses a batch too small before anything is done
    run, source = prepare(config, folder)
    rng = batches.generator(config.seed, batches.TRAINING)
    done = 0
    if resume:
        done, rng.bit_generator.state = load_checkpoint(run.folder / CHECKPOINT, run.params, run.optimiser)
        if done > config.iterations:
            raise ValueError(f"iterations must be at least {done}, the steps that the run in {run.folder} has done, "
                             f"not {config.iterations}")
    ranks.check_alike(step=np.array(done), parameters=to_host(run.params.flat),
                      digits=to_host(run.splits[batches.TRAINING].labels))
    first = ranks.rank == 0
    with locked(run.folder) if first else nullcontext():
        if first:
            open_folder(run.folder, done, end="test_error")  # the test will come again
            save_config(run.folder / CONFIG, run.config, digits=source, parameters=run.params.flat.size)
        _train(run, ranks, rng, done, progress=progress and first)
        # the others add nothing to what the first finds
        test_error, images = ranks.add(np.array(error_on(run, batches.TEST) if first else (0.0, 0)))
        if first:
            log(run, {"step": config.iterations, "test_error": test_error, "test_images": int(images)})
    return run, float(test_error), int(images)


def error_on(run, purpose):
    """Error in per cent on the fixed validation or test images of the run's seed, and how many they are."""

    @step.quiet
    def wrong_of(x, labels):
        return step.errors(run.network.forward(run.params, x)[0], labels), len(labels)

    parts = batches.fixed_batches(run.splits[purpose], run.config.data, seed=run.config.seed, purpose=purpose)
    executor = nullcontext(_one_by_one) if run.config.device == "gpu" else parallel.workers(_threads(run.config))
    wrong = images = 0
    with executor as in_order:
        for found, count in in_order(partial(wrong_of, *part) for part in parts):
            wrong = wrong + found  # no look at a GPU in between
            images += count
    return 100 * float(wrong) / images, images


def _one_by_one(work):
    return (function() for function in work)


def _threads(config):
    return config.threads or parallel.ranks().cores


def _due(config, number, every):
    return number % every == 0 or number == config.iterations


def _report(run, number, meter, bar):
    """Log what is due after a step: the training since the last time, the validation error."""
    if _due(run.config, number, run.config.log_every):
        with meter.stopped():
            record = {"step": number, **meter.read(), "rate": run.optimiser.rate()}
            bar.report(record)
            log(run, record)
    if _due(run.config, number, run.config.validate_every):
        with meter.stopped():
            log(run, {"step": number, "validation_error": error_on(run, batches.VALIDATION)[0]})


@step.quiet
def _train(run, ranks, rng, done, *, progress):
    config = run.config
    part = ranks.part(config.batch)
    executor = (nullcontext(step.gradient) if config.device == "gpu" else
                parallel.sharded(threads=_threads(config), size=config.shard))
    source = batches.training_batches(run.splits[batches.TRAINING], config.data, batch=config.batch, rng=rng, part=part)
    bar = Progress(config.model, config.iterations, done, shown=progress)
    meter = Meter(config.batch)
    # closed here: left to the garbage collector, the source would wait for its thread at any moment, in any thread
    with executor as gradient, closing(source), bar, asked_to_stop(ranks) as asked:
        for number, batch in enumerate(islice(source, config.iterations - done), start=done + 1):
            own = gradient(run.network, run.params, batch.x, batch.labels, share=len(part) / config.batch)
            result, asked_anywhere = ranks.sum(own, asked)
            # on a GPU a look at the values waits for them, so it is taken only when something is logged or saved
            if on_host(result.loss) or _due(config, number, config.log_every):
                check_finite(run, batch, result, number)
            run.optimiser.step(run.params, result.grads)
            meter.add(result)
            bar.update()
            if ranks.rank == 0:
                _report(run, number, meter, bar)
            stops = bool(asked_anywhere)
            if stops or _due(config, number, config.checkpoint_every):
                check_finite(run, batch, result, number)
                if ranks.rank == 0:
                    with meter.stopped():
                        save_checkpoint(run.folder / CHECKPOINT, run.params, run.optimiser, step=number,
                                        generator_state=batch.generator_state)
            if stops and number < config.iterations:
                raise Interrupted(f"stopped after step {number} of {config.iterations}, saved in {run.folder}")


class Meter:
    """Mean loss, error and speed since it was last read, without looking at a device's values in between."""

    def __init__(self, batch):
        self.batch = batch
        self.since = time.perf_counter()
        self._reset()

    def _reset(self):
        self.count, self.loss, self.errors, self.seconds = 0, 0, 0, 0.0

    def add(self, result):
        self.count += 1
        self.loss = self.loss + result.loss
        self.errors = self.errors + result.errors

    @contextmanager
    def stopped(self):
        """The time that passes inside, such as in validating and saving, does not count."""
        float(self.loss)  # until here: a GPU may still be at work, and a look at its values waits for it
        self.seconds += time.perf_counter() - self.since
        yield
        self.since = time.perf_counter()

    def read(self):
        """Inside `stopped`."""
        images = self.count * self.batch
        values = {"loss": float(self.loss) / self.count, "error": 100 * float(self.errors) / images,
                  "images_per_s": images / self.seconds}
        self._reset()
        return values


def check_finite(run, batch, result, number):
    """Raise NotFinite, with the layer in which it began, if a parameter, the loss or a gradient is not finite."""
    xp = get_array_module(run.params.flat)
    if all(bool(xp.isfinite(a).all()) for a in (result.loss, result.grads.flat, run.params.flat)):
        return
    culprit = _culprit(run, batch.x, result.grads)
    raise NotFinite(f"step {number}: the loss is {float(result.loss)} and layer {culprit} is not finite; "
                    f"{last_checkpoint(run.folder)}. "
                    "Begin anew with a smaller --lr or --clip-norm: a run that goes on keeps its own")


def _culprit(run, x, grads):
    """The layer in which NaN or infinity began: by its parameters, else by its output, else by its gradient."""

    def not_finite(a):
        return not bool(get_array_module(a).isfinite(a).all())

    bad = ["/".join(path[:-1]) for path, p in leaves(run.params) if not_finite(p)]
    for name, net in run.network.networks.items() if not bad else ():
        x, _ = net.forward(run.params[name], x)
        if not_finite(x):
            return name
    # a backward spreads what is not finite towards the input: the last layer that has it is nearest to where it began
    return (bad or ["/".join(path[:-1]) for path, g in leaves(grads) if not_finite(g)][::-1] or ["(the loss)"])[0]
