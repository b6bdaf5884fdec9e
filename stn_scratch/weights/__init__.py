"""Trained networks that come with the package: small .npz files, made by `experiments --weights` from runs."""

import json
import zipfile
import zlib
from pathlib import Path

import numpy as np

from stn_scratch.backend import to_host
from stn_scratch.models import build_model
from stn_scratch.parameters import unpack
from stn_scratch.training.files import replacing
from stn_scratch.validate import check_choice

FOLDER = Path(__file__).parent
LARGEST = 500_000  # bytes of a file


def names():
    """The networks that are there."""
    return sorted(path.stem for path in FOLDER.glob("*.npz"))


def load_weights(name):
    """A trained network by its name -> network, params on the host, and a dict that says how it was trained.

    Raises ValueError, one sentence, for a name that is not there and for a damaged file.
    """
    check_choice("name", name, names())
    path = FOLDER / f"{name}.npz"
    try:
        # opened here: np.load, given a path, leaves a file that is cut short open
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as members:
            flat, facts = members["params"], json.loads(str(members["facts"]))
        network, params = build_model(**facts["network"])
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
        raise ValueError(f"{path} is damaged: install the package again") from None
    if params.flat.shape != flat.shape:
        raise ValueError(f"{path} holds the parameters of another network: install the package again")
    return network, unpack(flat, params), facts


def save_weights(path, config, params, record):
    """Write the parameters of a run, with its record. Raises ValueError if the file would be too large to ship."""
    facts = {"network": config.network(), "record": record}
    with replacing(path) as file:
        np.savez_compressed(file, params=to_host(params.flat), facts=np.array(json.dumps(facts)))
        size = file.tell()
        if size > LARGEST:
            raise ValueError(f"{path} must have at most {LARGEST:,} bytes, not {size:,}: train a smaller network")
