"""The memory of one training step is kept for the next."""

import os
import platform
import subprocess
import sys

import pytest

from stn_scratch.training import memory

STEPS = """
import resource
import numpy as np
from stn_scratch import build_model
from stn_scratch.training.parallel import sharded

network, params = build_model("st-cnn", in_shape=(42, 42, 1), dtype="float32")
x, labels = np.zeros((64, 42, 42, 1), "float32"), np.zeros(64, int)

found = []
with sharded(threads=1, size=64) as gradient:
    for _ in range(12):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        gradient(network, params, x, labels)
        found.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(sorted(found[6:])[3])
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to keep memory")
def test_later_steps_find_their_memory_mapped():
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True, timeout=300,
                          env=environment)
    assert int(done.stdout) < 50, "pages that a step asks for; without `keep_freed_memory` some 3,000"


@pytest.mark.parametrize("found", [("", ""), ("libc", "1.2")])
def test_other_systems_are_left_as_they_are(monkeypatch, found):
    monkeypatch.setattr(platform, "libc_ver", lambda: found)
    monkeypatch.setattr(memory.ctypes, "CDLL", None)  # what must not be called
    assert memory.keep_freed_memory() is False
