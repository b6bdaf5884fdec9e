"""The folder of a co-localisation: config.json, metrics.jsonl, checkpoint.npz, localised.png."""

import json
from dataclasses import asdict

from stn_scratch.backend import get_array_module
from stn_scratch.colocalisation.config import save_config
from stn_scratch.training import loop
from stn_scratch.training.files import replacing


def open_folder(run, done):
    """Write the configuration; keep of an older run what was logged up to the step `done`, and of none its end."""
    kept = [record for record in (loop.read_metrics(run.folder) if done else [])
            if record["step"] <= done and "final" not in record]
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
        if not done:
            (run.folder / loop.CHECKPOINT).unlink(missing_ok=True)
    except OSError as error:
        raise OSError(f"cannot write into the run folder {run.folder}: {error.strerror or error}") from None
    save_config(run.folder / loop.CONFIG, run.config, parameters=run.params.flat.size)
    with replacing(run.folder / loop.METRICS) as file:
        file.writelines(json.dumps(record).encode() + b"\n" for record in kept)


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
    checkpoint = run.folder / loop.CHECKPOINT
    last = f"the last good checkpoint is {checkpoint}" if checkpoint.is_file() else "there is no checkpoint yet"
    raise loop.NotFinite(f"step {number}: the loss is {loss}, or a parameter is not finite; {last}. A smaller lr or "
                         "clip_norm may help")
