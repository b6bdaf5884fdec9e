"""What a co-localisation asks before it goes on."""

from dataclasses import asdict

from stn_scratch.backend import get_array_module
from stn_scratch.training import loop, parallel
from stn_scratch.training.run_folder import last_checkpoint


def check_alone():
    """Raise RuntimeError in one of several processes that mpirun started: they would all do the same."""
    if parallel.ranks().size > 1:
        raise RuntimeError("a co-localisation runs in one process: start it without mpirun, or by experiments with "
                           "--executor mpi")


def check_same(stored, config):
    """Raise ValueError unless a stored Config differs from another only in what a resumed run may change."""
    for name, value in asdict(stored).items():
        given = getattr(config, name)
        if name not in ("device", "data_dir", "encoder") and given != value:
            raise ValueError(f"{name} must stay {value!r}, as the run was started, not {given!r}")


def check_finite(run, number, loss):
    """Raise loop.NotFinite if the loss or a parameter is NaN or infinite."""
    xp = get_array_module(run.params.flat)
    if bool(xp.isfinite(run.params.flat).all()) and loss - loss == 0:
        return
    raise loop.NotFinite(f"step {number}: the loss is {loss}, or a parameter is not finite; "
                         f"{last_checkpoint(run.folder)}. Begin anew with a smaller lr or clip_norm: a run that goes "
                         "on keeps its own")
