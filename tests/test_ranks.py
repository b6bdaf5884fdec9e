"""What a process says to the others, with a stand-in for MPI. How real ones train together is tested in test_mpi.py."""

import sys
from types import SimpleNamespace

import numpy
import pytest
from strict import DeviceArray
from test_step import NETWORK, start

from stn_scratch.backend import to_host
from stn_scratch.parameters import leaves
from stn_scratch.training import parallel
from stn_scratch.training.parallel import RankLost, Ranks, ranks
from stn_scratch.training.step import gradient


class Refuses(Exception):
    """Stands for MPI's own exception."""


class Other:
    """An MPI with one other process, which gives `other` to every sum, after it was asked `tests` times."""

    IN_PLACE, COMM_TYPE_SHARED, Exception = object(), object(), Refuses

    def __init__(self, other=0, *, rank=0, local=0, tests=2, affinities=({0, 1}, {0, 1})):
        self.COMM_WORLD, self.rank, self.size = self, rank, 2
        self.other, self.tests, self.local, self.affinities, self.aborted = other, tests, local, affinities, []

    def Split_type(self, kind):
        assert kind is self.COMM_TYPE_SHARED
        return SimpleNamespace(rank=self.local, size=len(self.affinities), allgather=lambda own: self.affinities)

    def Iallreduce(self, send, buffer):
        assert send is self.IN_PLACE and type(buffer) is numpy.ndarray
        answers = iter([False] * self.tests + [True])

        def test():
            done = next(answers)
            if done:
                buffer[...] += self.other
            return done

        return SimpleNamespace(Test=test)

    def Abort(self, status):
        self.aborted.append(status)


@pytest.mark.parametrize(("rank", "size", "batch"), [(0, 1, 5), (0, 3, 10), (1, 3, 10), (2, 3, 10), (3, 4, 4)])
def test_a_part_of_the_batch_for_each(rank, size, batch):
    team = Ranks()
    team.size = size
    parts = []
    for team.rank in range(size):
        parts.append(team.part(batch))
    assert [k for part in parts for k in part] == list(range(batch))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert parts[rank] == range(batch * rank // size, batch * (rank + 1) // size)
    with pytest.raises(ValueError, match=f"^batch must be at least {size}, one image .* not {size - 1}$"):
        team.part(size - 1)


def test_a_process_alone():
    params, x, labels = start(numpy)
    own, asked = gradient(NETWORK, params, x, labels), []
    team = Ranks()
    assert (team.rank, team.size, team.local, team.cores) == (0, 1, 0, parallel.cores())
    result, stops = team.sum(own, asked)
    assert result is own and stops is asked  # which a signal may still fill
    numpy.testing.assert_array_equal(team.add(numpy.arange(3.0)), [0, 1, 2])
    team.check_alike(digits=numpy.arange(3))
    assert team.one_first(lambda: "done") == "done"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_sum_holds_gradient_loss_errors_and_question(xp, dtype):
    params, x, labels = start(xp, dtype=dtype)
    own = gradient(NETWORK, params, x, labels)
    flat = to_host(own.grads.flat).copy()
    for asked, other_asked, stops in (([], 0, False), ([], 1, True), ([2], 0, True), ([2], 1, True)):
        team = Ranks(Other(numpy.append(numpy.arange(flat.size), [0.5, 3, other_asked]).astype(dtype)))
        result, agreed = team.sum(own, asked)
        assert agreed is stops
        assert type(result.grads.flat) is type(own.grads.flat) and result.grads.flat.dtype == dtype
        numpy.testing.assert_array_equal(to_host(result.grads.flat), flat + numpy.arange(flat.size, dtype=dtype))
        assert float(result.loss) == float(to_host(own.loss) + numpy.asarray(0.5, dtype))
        assert int(result.errors) == int(own.errors) + 3
        assert [(p, a.shape) for p, a in leaves(result.grads)] == [(p, a.shape) for p, a in leaves(params)]
    assert (type(result.loss) is DeviceArray) == (xp.__name__ == "strict")


def test_cores_are_divided_among_the_processes_of_a_machine():
    every = {0, 1, 2, 3}
    for affinities, cores in (((every, every), 2), (({0, 1}, {2, 3}), 2), (({0}, {1}), 1), (({0},) * 3, 1)):
        assert Ranks(Other(affinities=affinities)).cores == cores
    assert Ranks(Other(local=1, rank=3)).local == 1


def test_a_process_that_does_not_answer_is_given_up(monkeypatch):
    monkeypatch.setattr(parallel, "PATIENCE", 0.05)
    with pytest.raises(RankLost, match="^another process of this run has not answered for 0 seconds$"):
        Ranks(Other(tests=10**6)).add(numpy.zeros(1))


def test_an_error_of_mpi_is_a_sentence(monkeypatch):
    def broken(*_):
        raise Refuses("connection closed")

    other = Other()
    monkeypatch.setattr(other, "Iallreduce", broken)
    with pytest.raises(RankLost, match="^another process of this run cannot be reached: connection closed$"):
        Ranks(other).add(numpy.zeros(1))


def test_what_differs_is_named():
    here = {"step": numpy.array(4), "parameters": numpy.arange(3.0)}
    sums = numpy.array([parallel.zlib.crc32(a.tobytes()) for a in here.values()], "float64")
    Ranks(Other(sums)).check_alike(**here)
    for change, names in (([1, 0], "step"), ([0, -1], "parameters"), ([1, 1], "step and parameters")):
        with pytest.raises(RuntimeError, match=f"^the processes of this run have not the same {names}: "):
            Ranks(Other(sums + change)).check_alike(**here)


@pytest.mark.parametrize(("local", "order"), [(0, ["action", "sum"]), (1, ["sum", "action"])])
def test_the_first_of_a_machine_goes_ahead(monkeypatch, local, order):
    team, done = Ranks(Other(local=local)), []
    monkeypatch.setattr(team, "add", lambda a: done.append("sum"))
    assert team.one_first(lambda: done.append("action") or 5) == 5
    assert done == order


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("together", [False, True])
def test_last_words(rank, together, monkeypatch, capsys):
    slept = []
    monkeypatch.setattr(parallel, "sleep", slept.append)
    other = Other(rank=rank)
    Ranks(other).last_words("the end", together=together)
    said = capsys.readouterr()
    assert said.out == "" and said.err == ("" if together and rank else "the end\n")
    assert other.aborted == ([] if together else [2])
    assert slept == ([] if together else [float(rank)])
    Ranks().last_words("alone", together=together)
    assert capsys.readouterr().err == "alone\n"


@pytest.fixture
def launched(monkeypatch):
    """As in a process that mpirun started with another; and not so for the next test."""
    for name in parallel.LAUNCHED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    ranks.cache_clear()
    yield monkeypatch
    ranks.cache_clear()


@pytest.mark.parametrize("variables", [{}, *({name: "1"} for name in parallel.LAUNCHED)])
def test_one_process_needs_no_mpi(launched, variables):
    launched.setitem(sys.modules, "mpi4py", None)
    launched.delenv("OMPI_COMM_WORLD_SIZE")
    for name, value in variables.items():
        launched.setenv(name, value)
    assert ranks().size == 1 and ranks() is ranks()


def test_without_mpi4py(launched):
    launched.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(RuntimeError, match='^2 processes were started together, which needs the extra "mpi", mpi4py '):
        ranks()


def test_two_processes_of_an_mpi(launched, capsys):
    other = Other(rank=1)
    launched.setitem(sys.modules, "mpi4py", SimpleNamespace(MPI=other))
    team = ranks()
    assert (team.rank, team.size) == (1, 2) and ranks() is team
    sys.excepthook(ValueError, ValueError("nobody catches this"), None)
    assert other.aborted == [1] and capsys.readouterr().err.endswith("ValueError: nobody catches this\n")


def test_started_by_another_mpi(launched):
    launched.setenv("OMPI_COMM_WORLD_SIZE", "4")
    launched.setitem(sys.modules, "mpi4py", SimpleNamespace(MPI=Other()))
    with pytest.raises(RuntimeError, match="^4 processes were started, but by another MPI than mpi4py's: "):
        ranks()
