"""What every test may ask for: an array module, random numbers that are the same each time, a small run."""

import signal

import numpy
import pytest
from command_line import TINY, succeeds
from small_runs import find_few
from strict import DeviceArray, strict

from stn_scratch.backend import ARRAY_MODULES, gpu_available
from stn_scratch.training.parallel import cores

ARRAY_MODULES[DeviceArray] = strict

MODULES = [numpy, strict]
if gpu_available():
    import cupy

    MODULES.append(pytest.param(cupy, marks=pytest.mark.gpu))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """The processes of --numprocesses=auto: one for each core that this one may use, up to eight."""
    return min(8, cores())


@pytest.fixture(autouse=True)
def as_on_a_terminal():
    """A process that was started in the background ignores Ctrl-C; here it does what it does on a terminal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(params=MODULES, ids=lambda module: module.__name__)
def xp(request):
    """The array module under test: NumPy, the strict stand-in for CuPy, and CuPy itself where there is a GPU."""
    return request.param


@pytest.fixture
def rng():
    return numpy.random.default_rng(0)


@pytest.fixture
def few(monkeypatch):
    """The command line finds few digits."""
    find_few(monkeypatch)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run folder after six iterations, and what `train` printed."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        find_few(patch)
        return folder, succeeds("train", *TINY, "--seed", 3, "--iterations", 6, "--out", folder)
