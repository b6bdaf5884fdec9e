"""What every test may ask for: an array module, and random numbers that are the same each time."""

import numpy
import pytest
from strict import DeviceArray, strict

from stn_scratch.backend import ARRAY_MODULES, gpu_available

ARRAY_MODULES[DeviceArray] = strict

MODULES = [numpy, strict]
if gpu_available():
    import cupy

    MODULES.append(pytest.param(cupy, marks=pytest.mark.gpu))


def pytest_configure(config):
    config.addinivalue_line("markers", "gpu: runs on CuPy, where there is a GPU")


@pytest.fixture(params=MODULES, ids=lambda module: module.__name__)
def xp(request):
    """The array module under test: NumPy, the strict stand-in for CuPy, and CuPy itself where there is a GPU."""
    return request.param


@pytest.fixture
def rng():
    return numpy.random.default_rng(0)
