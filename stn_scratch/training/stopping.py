"""Ctrl-C, and SIGTERM as mpirun and batch systems send it: a run ends after the step that it is in."""

import os
import signal
import threading
from contextlib import contextmanager


def same_again(*, overwrite):
    """What goes on with a run that was stopped, in words; overwrite: whether it was begun by that option."""
    return "the same command" + (", with --resume for --overwrite" if overwrite else " and --resume")


@contextmanager
def asked_to_stop(ranks):
    """Gives a list that Ctrl-C or SIGTERM fills, instead of breaking a step in the middle; a second one does break it.

    A signal that the process was told to ignore, as a command in the background of a script is, stays ignored. Python
    hands signals to the main thread only: in another the list stays empty.
    """
    asked = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(signum, frame):
        asked.append(signum)
        signal.signal(signum, before[signum])
        # mpirun sends SIGTERM to those that are left when a process dies, and a moment later kills them
        if signum == signal.SIGTERM and ranks.size > 1 and ranks.rank < 2:
            os.write(2, b"stn_scratch: told to end, as when another process of the run has died. Go on from the last "
                        b"checkpoint with the same command and --resume.\n")

    heard = [signum for signum in (signal.SIGINT, signal.SIGTERM)
             if signal.getsignal(signum) not in (signal.SIG_IGN, None)]
    before = {signum: signal.signal(signum, ask) for signum in heard}
    try:
        yield asked
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
