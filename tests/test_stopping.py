"""Which signals a run hears. What it then does is in test_loop.py and test_main.py."""

import signal

import pytest

from stn_scratch.training import parallel
from stn_scratch.training.stopping import asked_to_stop


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_is_heard_and_one_that_is_ignored(signum):
    """A script's `command &` starts with SIGINT ignored: Ctrl-C in its terminal is meant for others."""
    before = signal.signal(signum, signal.SIG_IGN)
    try:
        with asked_to_stop(parallel.Ranks()) as asked:
            signal.raise_signal(signum)
        assert asked == [] and signal.getsignal(signum) is signal.SIG_IGN
        heard = signal.default_int_handler
        signal.signal(signum, heard)
        with asked_to_stop(parallel.Ranks()) as asked:
            signal.raise_signal(signum)
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signum)
        assert asked == [signum] and signal.getsignal(signum) is heard
    finally:
        signal.signal(signum, before)
