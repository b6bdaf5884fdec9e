"""Files that are there whole or not at all."""

import os
from contextlib import contextmanager, suppress
from threading import get_ident


@contextmanager
def naming(path):
    """An OSError in it says in one sentence which file cannot be written."""
    try:
        yield
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror or error}") from None


@contextmanager
def replacing(path):
    """A binary file to write to; when the block ends well, it takes the place of `path` in one step.

    A file already there stays as it is until then, and for good if something goes wrong; of two processes that write
    one at once the later one's stands, whole. Raises OSError, one sentence.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{get_ident()}.part")
    try:
        with naming(path):
            with open(temporary, "wb") as file:
                yield file
            os.replace(temporary, path)
    finally:
        with suppress(OSError):  # the sentence above says more
            temporary.unlink(missing_ok=True)


def copy_whole(source, target):
    """Copy a file, whole or not at all. Raises OSError, one sentence, where `target` cannot be written."""
    with replacing(target) as file:
        file.write(source.read_bytes())
