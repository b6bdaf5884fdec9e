"""What is shown while a run trains: lines where nobody watches, a bar on a terminal, nothing when unasked."""

import io
import sys

import pytest

from stn_scratch.training import progress
from stn_scratch.training.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Seconds, as the test wants them: [now]."""
    now = [100.0]
    monkeypatch.setattr(progress, "perf_counter", lambda: now[0])
    return now


def shown(monkeypatch, stream, total, done=0, *, every=1, seconds=1.0, clock, **options):
    """Train for nothing, `seconds` a step, with a record `every` so many steps -> all that was shown."""
    monkeypatch.setattr(sys, "stderr", stream)
    with Progress("cnn", total, done, **options) as bar:
        for step in range(done + 1, total + 1):
            clock[0] += seconds
            bar.update()
            if step % every == 0 or step == total:
                bar.report({"step": step, "loss": 1 / step, "error": 50.0, "images_per_s": 1234.5, "rate": 0.1})
    return stream.getvalue()


def steps(text):
    return [int(line.split()[2]) for line in text.splitlines()]


def test_a_line_says_where_the_run_is_and_how_long_it_takes(monkeypatch, clock):
    text = shown(monkeypatch, io.StringIO(), 100, every=50, seconds=3.0, clock=clock)
    assert text.splitlines() == ["cnn: step 50 of 100, loss 0.020, error 50.0%, 1234 images/s, 02:30 left",
                                 "cnn: step 100 of 100, loss 0.010, error 50.0%, 1234 images/s, 00:00 left"]


@pytest.mark.parametrize(("total", "done", "every", "expected"), [
    (3000, 0, 20, [20, *range(300, 3001, 300)]),  # the first record soon, then each tenth
    (3000, 1510, 20, [1520, 1800, 2100, 2400, 2700, 3000]),  # a resumed run
    (150, 0, 20, [20, 40, 60, 80, 100, 120, 140, 150]),  # records rarer than tenths: each
    (6, 0, 20, [6]),
    (6, 6, 20, []),  # nothing left to do
])
def test_a_few_lines_a_run(monkeypatch, clock, total, done, every, expected):
    assert steps(shown(monkeypatch, io.StringIO(), total, done, every=every, clock=clock)) == expected


def test_the_time_left_of_a_resumed_run_counts_its_own_steps(monkeypatch, clock):
    text = shown(monkeypatch, io.StringIO(), 1000, 900, every=50, seconds=2.0, clock=clock)
    assert [line.split(", ")[-1] for line in text.splitlines()] == ["01:40 left", "00:00 left"]


def test_a_bar_and_no_lines_on_a_terminal(monkeypatch, clock):
    text = shown(monkeypatch, Terminal(), 40, 30, clock=clock)
    assert text.count("\n") == 1 and text.endswith("\n")  # after the bar, when it is closed
    last = text.rstrip().split("\r")[-1]
    assert last.startswith("cnn: 100%") and "40/40" in last and "loss 0.025, error 50.0%, 1234 images/s" in last
    assert "step 40 of 40" not in text


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_nothing_unasked(monkeypatch, clock, stream):
    assert shown(monkeypatch, stream(), 40, clock=clock, shown=False) == ""
