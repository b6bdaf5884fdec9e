"""One file from the first of several mirrors that has it right, put in place only once it is checked."""

import http.client
import os
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path

from tqdm import tqdm

CONNECT_SECONDS = 10  # for one connection and for one read, not for the whole file
LONGEST_ANSWER = 16 * 2**20  # bytes; the largest MNIST file has 9.9 million
CHUNK = 2**16  # bytes


def download(name, folder, *, mirrors, check, progress=True):
    """Fetch `name` into `folder` (made if need be) from the first mirror whose answer passes `check`.

    mirrors: addresses that end in "/"; check: a function of the file's bytes, which raises ValueError when they are
    wrong; its result is returned. The bytes go to a `.part` file of a name of its own, so that several processes may
    download at once, and are renamed only after the check: a good file in `folder` is never replaced by a bad one.

    Raises OSError, one sentence with every mirror's failure, when no mirror has the file; or when `folder` cannot be
    written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(prefix=f"{name}.", suffix=".part", dir=folder)
    os.close(handle)
    failures = []
    try:
        for mirror in mirrors:
            try:
                _copy(mirror + name, part, name, progress)
                content = check(Path(part).read_bytes())
            except (OSError, http.client.HTTPException, ValueError) as error:
                failures.append(f"{urllib.parse.urlsplit(mirror).hostname}: {_reason(error)}")
            else:
                os.replace(part, folder / name)
                return content
    finally:
        Path(part).unlink(missing_ok=True)
    raise OSError(f"{name} could not be downloaded ({'; '.join(failures)})")


def _copy(url, path, name, progress):
    """Write the answer of `url` over the file `path`, with a bar on a terminal when `progress` is true."""
    request = urllib.request.Request(url, headers={"User-Agent": "stn_scratch"})
    # The bar begins once a mirror has answered: without a network nothing is drawn.
    with urllib.request.urlopen(request, timeout=CONNECT_SECONDS) as answer, open(path, "wb") as file:
        length = answer.headers.get("Content-Length", "")
        total = int(length) if length.isdigit() else None
        with tqdm(total=total, desc=name, unit="B", unit_scale=True, disable=None if progress else True) as bar:
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
                if file.tell() > LONGEST_ANSWER:
                    raise ValueError(f"{name} is longer than {LONGEST_ANSWER} bytes")


def _reason(error):
    """What went wrong, in a few words on one line."""
    if isinstance(error, urllib.request.HTTPError):
        error.close()
        return f"HTTP {error.code}"
    return " ".join(str(getattr(error, "reason", error)).split()) or type(error).__name__
