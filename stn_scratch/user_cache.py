"""Where the package keeps what it has made or downloaded for a user."""

import os
from pathlib import Path


def cache_folder(name):
    """$XDG_CACHE_HOME/stn_scratch/name, by default under ~/.cache. Raises RuntimeError where there is no home."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stn_scratch" / name
