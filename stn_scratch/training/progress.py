"""What a run shows of itself while it trains."""

import sys
from time import perf_counter

from tqdm import tqdm


class Progress:
    """A bar on a terminal; elsewhere (a file, a pipe) a plain line for the first record and at each tenth of the way.

    Both go to stderr. A context manager, which closes the bar.
    """

    def __init__(self, name, total, done=0, *, shown=True):
        terminal = sys.stderr.isatty()
        self.name, self.total, self.first = name, total, done
        self.bar = tqdm(total=total, initial=done, desc=name, unit="step", disable=not (shown and terminal))
        self.prints = shown and not terminal
        self.tenth = None
        self.began = perf_counter()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.bar.close()

    def update(self):
        """One more step is done."""
        self.bar.update()

    def report(self, record):
        """Show a training record: a dict with step, loss, error and images_per_s."""
        text = "loss {loss:.3f}, error {error:.1f}%, {images_per_s:.0f} images/s".format(**record)
        self.bar.set_postfix_str(text)
        step = record["step"]
        tenth = 10 * step // self.total
        if self.prints and tenth != self.tenth:
            self.tenth = tenth
            left = (perf_counter() - self.began) / (step - self.first) * (self.total - step)
            print(f"{self.name}: step {step} of {self.total}, {text}, {tqdm.format_interval(left)} left",
                  file=sys.stderr, flush=True)
