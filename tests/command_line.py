"""The command line, called in this process, and what it says."""

import contextlib
import io
import re

from stn_scratch.__main__ import main

TINY = ["--digits", "embedded", "--parameters", "24000", "--batch", "16", "--validation", "0.1", "--threads", "2",
        "--validate-every", "4", "--checkpoint-every", "4", "--decay-every", "100"]
LAST_LINE = re.compile(r"test error: (\d+\.\d\d) % \((\d+) images\)")
PROGRESS = re.compile(r"[\w-]+: step \d+ of \d+, loss [\d.]+, error [\d.]+%, \d+ images/s, [\d:]+ left")


def call(*arguments):
    """Run the command line in this process -> exit status, what it said on stdout, and on stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            status = stop.code
        except KeyboardInterrupt:
            status = "a traceback"
    return status, out.getvalue(), err.getvalue()


def refused(*arguments):
    """The command says one sentence on stderr, nothing on stdout, and ends with status 2 -> the sentence."""
    status, out, err = call(*arguments)
    assert status == 2 and out == ""
    assert err.count("\n") == 1 and err.startswith("stn_scratch: ")
    return err


def succeeds(*arguments):
    """The command ends with status 0, and has nothing to say on stderr but how far it is -> what it said on stdout."""
    status, out, err = call(*arguments)
    assert status == 0 and [line for line in err.splitlines() if not PROGRESS.fullmatch(line)] == []
    return out


def figure(out):
    """Test error and number of images, from the last line."""
    return LAST_LINE.fullmatch(out.splitlines()[-1]).groups()


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}
