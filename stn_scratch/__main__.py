"""The command line: `python -m stn_scratch train | evaluate | experiments | read | info`."""

import argparse
import io
import sys
import tempfile
import webbrowser
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from pathlib import Path

from stn_scratch import cuda
from stn_scratch.backend import gpu_available
from stn_scratch.experiments import command as experiments
from stn_scratch.grids import TRANSFORMATIONS
from stn_scratch.models import MODELS, build_model, count_parameters
from stn_scratch.reading import find, page
from stn_scratch.training import command as training
from stn_scratch.training import loop, parallel
from stn_scratch.training.config import versions
from stn_scratch.training.stopping import same_again


class Parser(argparse.ArgumentParser):
    """One that says what is wrong in one sentence, without the usage, which is long."""

    def error(self, message):
        self.exit(2, f"stn_scratch: {message.removeprefix('argument ')}; see {self.prog} --help\n")


def _parser():
    parser = Parser(prog="python -m stn_scratch", description="The Spatial Transformer, by hand.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    training.add_options(commands.add_parser(
        "train", help="train a network, or several with the same budget", argument_default=argparse.SUPPRESS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Train a network on distorted digits. The last line is its test error.",
        epilog=training.epilog()))
    evaluate = commands.add_parser("evaluate", help="test a trained network, and draw its pictures again")
    evaluate.add_argument("run", type=Path, help="the run's folder")
    evaluate.add_argument("--data-dir", help="a folder with MNIST's four .gz files")
    evaluate.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    read = commands.add_parser("read", help="show a function beside its equations, in a browser")
    read.add_argument("name", help="of a function or a pair: sample, affine_grid, tps_grid, conv2d, paper.sample, ...")
    read.add_argument("--out", type=Path, help="write the page there, and open nothing")
    tables = commands.add_parser("experiments", help="the paper's tables: list, run, write down",
                                 formatter_class=argparse.RawDescriptionHelpFormatter, epilog=experiments.epilog(),
                                 description="The rows of the paper's tables, each from one command.")
    experiments.add_options(tables)
    info = commands.add_parser("info", help="versions and device; with --models, the networks")
    info.add_argument("--models", action="store_true", help="every network with its number of parameters")
    return parser


def read(*, name, out):
    """Write the page of a function, equation beside code, and open it in a browser."""
    text = page(*find(name), title=f"stn_scratch: {name}")
    path = out or Path(tempfile.mkdtemp(prefix="stn_scratch-")) / f"{name}.html"
    path.write_text(text)
    print(path)
    if out is None:
        webbrowser.open(path.resolve().as_uri())


def info(*, models):
    """Print versions and device, and with `models` every network's parameter count at the paper's budget."""
    print(", ".join(f"{name} {number}" for name, number in versions().items()))
    print("GPU:", "ready" if gpu_available() else "none (CuPy is not installed, or it sees no device)")
    print("compiled kernels:", cuda.compiled_state())
    if not models:
        return
    print(f"\n{'parameters':<28}" + "".join(f"{f'{n}x{n}':>10}" for n in (28, 42, 60)))
    for name, (_, transformers) in MODELS.items():
        for transform in TRANSFORMATIONS if transformers else ("",):
            options = {"transform": transform} if transform else {}
            counts = [_count(name, side, options) for side in (28, 42, 60)]
            print(f"{name + ' ' + transform:<28}" + "".join(f"{count:>10}" for count in counts))


def _count(name, side, options):
    """How many parameters a network has for images of this side, or for volumes; "-" where neither fits into it."""
    for in_shape in ((side, side, 1), (side, side, side, 1)):
        try:
            return f"{count_parameters(build_model(name, in_shape=in_shape, **options)[1]):,}"
        except ValueError:
            continue
    return "-"


def main(arguments=None):
    """Run one command; gives the exit status: 0, 2 for a sentence on stderr, 130 after Ctrl-C."""
    options = vars(_parser().parse_args(arguments))
    name = options.pop("command")
    command = {"train": training.train, "evaluate": training.evaluate, "experiments": experiments.experiments,
               "read": read, "info": info}[name]
    again = "the same command" if name == "experiments" else same_again(overwrite=options.get("overwrite"))
    ranks = parallel.Ranks()
    try:
        if options.get("executor") != "mpi":  # whose processes do not train one network together: each runs its own
            ranks = parallel.ranks()
        elsewhere = options.get("list") or options.get("executor") == "mpi"
        if options.get("device") == "gpu" and not elsewhere and not gpu_available():
            raise RuntimeError("--device gpu: there is none here; CuPy is not installed, or it sees no device")
        with ExitStack() as stack:
            if ranks.rank:  # of several processes that mpirun started only the first one prints
                stack.enter_context(redirect_stdout(io.StringIO()))
                stack.enter_context(redirect_stderr(io.StringIO()))
            return command(**options) or 0
    except loop.Interrupted as stop:
        ranks.last_words(f"{stop}. Go on with {again}.", together=True)
        return 130
    except KeyboardInterrupt:
        more = f"; a run goes on from its last checkpoint with {again}" if name in ("train", "experiments") else ""
        ranks.last_words(f"stn_scratch: stopped{more}")
        return 130
    except loop.NotFinite as error:
        ranks.last_words(f"stn_scratch: {error}", together=True)
        return 2
    except (OSError, RuntimeError, ValueError) as error:
        ranks.last_words(f"stn_scratch: {training.in_options(str(error))}")
        return 2


if __name__ == "__main__":
    sys.exit(main())
