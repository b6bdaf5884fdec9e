"""Several processes under a real mpirun train as one does, go on from each other's checkpoints, and end together."""

import importlib.util
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import rank

from stn_scratch.training import run_folder

RANK = pathlib.Path(rank.__file__)
MPIRUN = shutil.which("mpirun", path=os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")]))
# as root, with more processes than cores, and not each on one core that another test may be using
OPEN_MPI = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
            "OMPI_MCA_rmaps_base_oversubscribe": "1", "OMPI_MCA_hwloc_base_binding_policy": "none",
            "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe", "PRTE_MCA_hwloc_default_binding_policy": "none"}
LIMIT = 60  # seconds, after which processes count as hanging

pytestmark = pytest.mark.skipif(MPIRUN is None or importlib.util.find_spec("mpi4py") is None,
                                reason="needs mpirun, and mpi4py of the extra mpi")


def start(processes, *arguments, program=(str(RANK),)):
    command = [sys.executable, *program, *map(str, arguments)]
    if processes > 1:
        command = [MPIRUN, "-n", str(processes), *command]
    return subprocess.Popen(command, env={**os.environ, **OPEN_MPI}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, start_new_session=True)


def finish(process):
    """Exit status, standard output and error; a process that hangs fails the test, and is ended with its children."""
    try:
        out, err = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.returncode, out, err


def run(processes, *arguments, **options):
    return finish(start(processes, *arguments, **options))


def checkpoint(folder):
    """Step, parameters and velocity; np.load reads all of the file, so a damaged one is found."""
    with np.load(folder / run_folder.CHECKPOINT, allow_pickle=False) as members:
        return json.loads(str(members["state"])), members["params"], members["velocity"]


def same_run(folder, other):
    """Parameters, velocity and records agree to 1e-12: sums in another order, nothing else."""
    (state, *arrays), (other_state, *other_arrays) = checkpoint(folder), checkpoint(other)
    assert state == other_state and state["step"] == 20
    for a, b in zip(arrays, other_arrays, strict=True):
        assert a.dtype == "float64"
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)
    for a, b in zip(run_folder.read_metrics(folder), run_folder.read_metrics(other), strict=True):
        assert a.keys() == b.keys()
        for key in a.keys() - {"images_per_s"}:
            assert a[key] == pytest.approx(b[key], rel=1e-12, abs=1e-12)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run by one process."""
    folder = tmp_path_factory.mktemp("whole")
    status, out, err = run(1, folder, "new")
    assert (status, err) == (0, "") and out.startswith("rank 0 of 1: ")
    return folder


@pytest.mark.parametrize("processes", [2, 3])
def test_ranks_train_as_one_process(whole, tmp_path, processes):
    status, out, err = run(processes, tmp_path, "new")
    assert (status, err) == (0, "")
    test = run_folder.read_metrics(whole)[-1]
    assert sorted(out.splitlines()) == [
        f"rank {k} of {processes}: {test['test_error']:.4f} % of {test['test_images']}" for k in range(processes)]
    same_run(tmp_path, whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in whole.iterdir())


@pytest.mark.parametrize(("processes", "resumed_by"), [(2, 1), (2, 3), (1, 2)])
def test_ctrl_c_in_one_rank_stops_all_and_any_number_goes_on(whole, tmp_path, processes, resumed_by):
    _, out, err = run(processes, tmp_path, "new", "interrupt", processes - 1, 7)
    assert out == "" and err == f"together: stopped after step 7 of 20, saved in {tmp_path}\n"
    assert checkpoint(tmp_path)[0]["step"] == 7
    assert run(resumed_by, tmp_path, "resume")[0] == 0
    same_run(tmp_path, whole)


def test_all_ranks_stop_at_what_is_not_finite_in_one(tmp_path):
    _, out, err = run(2, tmp_path, "new", "nan", 1, 8)
    assert out == "" and re.fullmatch("together: step 8: the loss is .* and layer .* is not finite; .*\n", err)
    assert checkpoint(tmp_path)[0]["step"] == 5


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_rank_ends_the_run_and_leaves_the_last_checkpoint(whole, tmp_path, killed):
    status, out, err = run(2, tmp_path, "new", "kill", killed, 13)
    assert status != 0 and "% of" not in out
    if "Open MPI" in subprocess.run([MPIRUN, "--version"], capture_output=True, text=True).stdout:
        assert err.count("stn_scratch: told to end, as when another process of the run has died. Go on from the last "
                         "checkpoint with the same command and --resume.\n") == 1
    else:  # MPICH's asks nobody to end before it kills them; it prints this itself
        assert "BAD TERMINATION" in out + err
    assert checkpoint(tmp_path)[0]["step"] == 10
    assert run(2, tmp_path, "resume")[0] == 0
    same_run(tmp_path, whole)


def test_an_exception_in_one_rank_ends_all(tmp_path):
    status, out, err = run(2, tmp_path, "new", "crash", 1, 8)
    assert status != 0 and out == "" and err.count("MemoryError: no room for a batch\n") == 1
    assert checkpoint(tmp_path)[0]["step"] == 5


def test_ranks_that_do_not_begin_alike_do_not_begin(tmp_path):
    status, out, err = run(2, tmp_path / "run", "new", "other digits", 1)
    assert status != 0 and out == "" and err.count("alone: the processes of this run have not the same digits: ") == 1
    assert not (tmp_path / "run").exists()


def test_ctrl_c_on_mpirun_leaves_a_checkpoint_to_go_on_from(whole, tmp_path):
    process = start(2, tmp_path, "new")
    began = time.monotonic()
    while not (tmp_path / run_folder.CHECKPOINT).exists() and time.monotonic() < began + LIMIT:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    finish(process)
    assert 5 <= checkpoint(tmp_path)[0]["step"] <= 20
    assert run(1, tmp_path, "resume")[0] == 0
    same_run(tmp_path, whole)


def test_experiments_are_handed_to_the_other_ranks(tmp_path):
    """Each is a process of its own, here one that finds no digits and says so; the first rank passes its words on."""
    status, out, err = run(3, "experiments", "--executor", "mpi", "--run", "r/cnn", "rts/cnn", "--data-dir", tmp_path,
                           "--runs", tmp_path / "runs", program=("-m", "mpi4py.futures", "-m", "stn_scratch"))
    assert status == 2, out + err
    assert sorted(line.partition(":")[0] for line in (out + err).splitlines() if "first, seed 0" in line) == [
        "r/cnn, first, seed 0", "rts/cnn, first, seed 0"]
