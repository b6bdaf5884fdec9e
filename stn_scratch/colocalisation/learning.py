r"""Co-localisation (paper, App. A.2): where in each image is the thing that all images share?

One localiser cuts a window I_n^T out of every image. Two windows should look alike, and less like a random piece of the
image, by Eq. (8). Nobody says where the thing is, nor what.

Two windows are alike, too, if both are black, and that is what plain descent finds: it zooms out or leaves the image.
So we go from coarse to fine, which is ours. The first windows are larger than the image, where little escapes them, and
only move: their size s is held. A window so large reads every fourth or fifth pixel, and the slope between two pixels
says nothing about the way to a stroke that is three pixels wide: against this aliasing the images are blurred, the more
the more pixels are skipped. Once the windows show the thing at one place, s goes down to where the encoder can make out
a digit, and is learnt from there.

That all windows stand beside the thing alike, Eq. (8) hardly minds; and they drift, for while the localiser learns to
tell places apart its features, which a ReLU keeps from being negative, move all windows one way. So all of them are
moved together: `recentre`, `adjust`.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from stn_scratch.backend import get_array_module, to_device, to_host
from stn_scratch.colocalisation.checks import check_alone, check_finite, check_same
from stn_scratch.colocalisation.config import Config
from stn_scratch.colocalisation.encoder import WINDOW, Encoder, load_encoder
from stn_scratch.colocalisation.images import CANVAS, boxes_of, draw_scene, overlap
from stn_scratch.grids import TRANSFORMATIONS
from stn_scratch.layers import triplet_hinge_backward, triplet_hinge_forward
from stn_scratch.network import Conv2D, Dense, Flatten, MaxPool, ReLU, Sequential
from stn_scratch.parameters import unpack
from stn_scratch.sampling import sample_forward
from stn_scratch.training import batches, loop, parallel
from stn_scratch.training.checkpoint import load_checkpoint, save_checkpoint
from stn_scratch.training.config import load_config, save_config
from stn_scratch.training.run_folder import CHECKPOINT, CONFIG, locked, log, open_folder
from stn_scratch.training.stopping import asked_to_stop
from stn_scratch.transformer import SpatialTransformer

SCENE, PAIRS, START = 11, 12, 13  # what a seed's generators are for; each has a stream of its own
SHOWN = 6  # images whose boxes are logged all the way
LARGEST_SKIP = 4.5  # pixels between two samples, beyond which there is no more blur
LOCALISED = 0.5  # the intersection over union beyond which a digit counts as found (paper, A.2)


class Run(NamedTuple):
    config: object
    folder: Path
    encoder: Encoder
    scene: object
    network: object  # the localiser
    params: object
    optimiser: object


def localiser(*, filters=8, width=128):
    """The paper's chain (A.2): 9x9 convolution of stride 4, 2x2 max-pooling, two dense layers; then s, t_x, t_y.

    The paper speaks of dense layers of 8 units and of 100,000 parameters, but with 8 units there are 5,947, and 100,627
    with 128. We keep to the parameters: the narrow one tells places apart less well.
    """
    hidden = Sequential(Conv2D(filters, 9, stride=4), MaxPool(2), ReLU(), Flatten(),
                        Dense(width), ReLU(), Dense(width), ReLU())
    return SpatialTransformer(hidden, "attention", size=(WINDOW, WINDOW))


def prepare(config, folder):
    """The encoder, the images and the localiser at its start, on the configured device."""
    trained = load_encoder(config.encoder, device=config.device, data_dir=config.data_dir)
    purpose = {"test": batches.TEST, "validation": batches.VALIDATION}[config.digits_of]
    scene = draw_scene(batches.generator(config.seed, SCENE), trained.splits[purpose], trained.splits[batches.TRAINING],
                       label=config.label, images=config.images, clutter=config.clutter)
    network = localiser(filters=config.filters, width=config.width)
    params, _ = network.init(batches.generator(config.seed, START), (CANVAS, CANVAS, 1))
    params["localisation"]["regression"]["b"][0] = config.scales[0]
    flat = params.flat.astype("float32")
    params = unpack(to_device(flat) if config.device == "gpu" else flat, params)
    encoder = Encoder(trained.network, trained.params, scales=config.code_scales)
    return Run(config, Path(folder), encoder, scene, network, params, config.optimiser())


def blurred(images, width):
    """images (N, S, S, 1), each pixel the Gaussian mean of standard deviation `width` around it; black beyond the edge.

    Eq. (3) with a Gaussian kernel, at every pixel: V = A U A, with A the kernel between two rows or two columns. Its
    weights on whole pixels are made to sum to 1: those of the density do so only where it is a pixel wide or more.
    """
    if width == 0:
        return images
    S = images.shape[1]
    kernel = np.exp(-np.arange(-S, S + 1) ** 2 / (2 * width ** 2))
    kernel /= kernel.sum()
    m = np.arange(S)
    A = kernel[S + m[:, None] - m]
    A = get_array_module(images).asarray(A.astype(images.dtype.name))
    return (A @ images[..., 0] @ A)[..., None]


def random_pieces(rng, images):
    """I^rand: from each image a piece of 28 x 28 pixels, at a random place."""
    s = (WINDOW - 1) / (CANVAS - 1)
    p = np.concatenate([np.full((len(images), 1), s), rng.uniform(s - 1, 1 - s, (len(images), 2))], axis=1)
    p = get_array_module(images).asarray(p.astype(images.dtype.name))
    grid, _ = TRANSFORMATIONS["attention"].forward(p, size=(WINDOW, WINDOW), align_corners=True)
    return sample_forward(images, grid)[0]


def gradient(run, images, rng):
    """The mean of Eq. (8) over random pairs of images, and its gradient for the localiser's parameters."""
    xp, P = get_array_module(images), run.config.pairs
    n = rng.integers(0, len(images), P)
    m = (n + rng.integers(1, len(images), P)) % len(images)  # any other image
    U = xp.take(images, xp.asarray(np.concatenate([n, m])), axis=0)
    # one localiser for both images of a pair: they are one batch, and their gradients add
    V, cache = run.network.forward(run.params, U)
    e, cache_e = run.encoder.forward(V)
    e_rand, _ = run.encoder.forward(random_pieces(rng, U[:P]))
    loss, cache_loss = triplet_hinge_forward(e[:P], e[P:], e_rand, alpha=run.config.alpha)
    dloss = xp.full(P, 1 / P, dtype=loss.dtype.name)
    de_n, de_m, _ = triplet_hinge_backward(dloss, cache_loss, need_de_rand=False)
    dV = run.encoder.backward(xp.concatenate([de_n, de_m]), cache_e)
    _, grads = run.network.backward(dV, cache, need_dx=False)
    return loss.mean(), grads


def step(run, number, images, rng):
    """One step of descent on `images`, blurred. Gives the loss, a 0-d array."""
    held = run.config.held_scale(number)
    if held is not None:
        run.params["localisation"]["regression"]["b"][0] = held
    loss, grads = gradient(run, images, rng)
    if held is not None:
        regression = grads["localisation"]["regression"]
        regression["W"][:, 0], regression["b"][0] = 0, 0
    run.optimiser.step(run.params, grads)
    return loss


def recentre(run, p):
    """Move all windows p together, so that they stand around the middle of the image, as evenly placed things do."""
    _move(run, -p[:, 1:].mean(axis=0))


def adjust(run, images):
    """Move all windows together, so that what they show, in the mean, has its centre of mass in their middle.

    Mass is what is brighter than the mean window's edge. Windows that show nothing are left where they are.
    """
    V, cache = run.network.forward(run.params, images)
    shown = to_host(V.mean(axis=0))[..., 0].astype("float64")
    edge = np.concatenate([shown[0], shown[-1], shown[:, 0], shown[:, -1]]).mean()
    mass = np.maximum(shown - edge, 0)
    if mass.sum() > 0:
        # Eq. (2): a point (x_t, y_t) of a window is read at s (x_t, y_t) + (t_x, t_y)
        x_t = np.linspace(-1, 1, len(mass))
        s = to_host(cache.theta)[:, 0].astype("float64").mean()
        _move(run, s * np.array([mass.sum(axis=0) @ x_t, mass.sum(axis=1) @ x_t]) / mass.sum())


def _move(run, t):
    """Add t_x, t_y to those of all windows."""
    b = run.params["localisation"]["regression"]["b"]
    b[1:] += get_array_module(b).asarray(t.astype(b.dtype.name))


def windows(run, images):
    """s, t_x, t_y of every image's window (N, 3), a host array; `images` blurred as in training."""
    return to_host(run.network.forward(run.params, images)[1].theta).astype("float64")


def blur_for(run, p):
    """The width of the blur for windows p: for each pixel that they skip between two samples, `blur` pixels."""
    spacing = abs(p[:, 0]).mean() * (CANVAS - 1) / (WINDOW - 1)
    return float(run.config.blur * np.clip(spacing - 1, 0, LARGEST_SKIP))


def fit(p, scene):
    """How well windows fit: the share of digits found in per cent, and the mean intersection over union."""
    found = overlap(boxes_of(p), scene.boxes)
    return {"localised": 100 * float((found > LOCALISED).mean()), "iou": float(found.mean())}


# one thread for BLAS: how many share a product may change its last bit, and a run is the same on any machine's threads
@threadpool_limits.wrap(limits=1, user_api="blas")
def run(config, folder, *, resume=False):
    """Learn to the end of `config`, from the folder's checkpoint with `resume`, else from the beginning.

    Gives the Run and its final record, which is also the last line of the folder's metrics.jsonl: `localised`, `iou`,
    and the `boxes` found, x, y, side of each image. Raises loop.Interrupted after Ctrl-C, loop.NotFinite, and
    OSError, RuntimeError or ValueError, one sentence, for a folder or a file that cannot be used.
    """
    check_alone()
    ready = prepare(config, folder)
    rng, done = batches.generator(config.seed, PAIRS), 0
    width = blur_for(ready, np.array([[config.scales[0], 0, 0]]))
    if resume:
        check_same(load_config(ready.folder / CONFIG, Config, "a co-localisation"), config)
        done, state = load_checkpoint(ready.folder / CHECKPOINT, ready.params, ready.optimiser)
        rng.bit_generator.state, width = state["generator"], state["blur"]
    with locked(ready.folder):
        open_folder(ready.folder, done, end="final")
        save_config(ready.folder / CONFIG, config, parameters=ready.params.flat.size)
        images = _learn(ready, rng, done, width)
        p = windows(ready, images)
        boxes = boxes_of(p).round(2).tolist()
        record = {"step": config.iterations, **fit(p, ready.scene), "boxes": boxes, "final": True}
        log(ready, record)
    return ready, record


def _log_boxes(run, number, images, facts):
    p = windows(run, images)
    log(run, {"step": number, **facts, **fit(p, run.scene), "boxes": boxes_of(p[:SHOWN]).round(2).tolist()})


def _learn(run, rng, done, width):
    """The steps from `done` to the last. Gives the images as they were blurred in the last one."""
    config = run.config
    images = blurred(run.scene.images, width)
    if not done:
        _log_boxes(run, 0, images, {"blur": width})
    losses = []
    with asked_to_stop(parallel.Ranks()) as asked:
        for number in range(done + 1, config.iterations + 1):
            latest = step(run, number, images, rng)
            losses.append(latest)
            ends = bool(asked) or number == config.iterations
            if number % config.log_every == 0 or ends:
                loss = float(sum(losses)) / len(losses)
                check_finite(run, number, loss)
                _log_boxes(run, number, images, {"loss": loss, "blur": width})
                losses = []
            if config.recentred(number):
                recentre(run, windows(run, images))
            if config.adjusted(number):
                adjust(run, images)
            if number % config.focus_every == 0:
                width = blur_for(run, windows(run, images))
                images = blurred(run.scene.images, width)
            stops = bool(asked)
            if number % config.checkpoint_every == 0 or ends or stops:
                check_finite(run, number, float(latest))
                state = {"generator": rng.bit_generator.state, "blur": width}
                save_checkpoint(run.folder / CHECKPOINT, run.params, run.optimiser, step=number,
                                generator_state=state)
            if stops and number < config.iterations:
                raise loop.Interrupted(f"stopped after step {number} of {config.iterations}, saved in {run.folder}")
    return images
