"""curves.png: loss and error of a run against its steps."""

from itertools import pairwise
from math import floor, log10

from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from stn_scratch.models import MODELS
from stn_scratch.training.run_folder import read_metrics

TRAINING, VALIDATION, TEST, DIVISION, LINEAR = "#6baed6", "#2166ac", "#d95f02", "#707070", "#eeeeee"
RATES_NAMED = 8  # of more, the texts would overlap


def draw_curves(run):
    """Loss and error against the step: training batches, validation digits, and the final test error."""
    records = read_metrics(run.folder)
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    series = {name: _series(records, name) for name in ("loss", "error", "validation_error", "test_error")}
    _draw(left, series["loss"], color=TRAINING, linewidth=1)
    _draw(right, series["error"], color=TRAINING, linewidth=1, label="training batches")
    _draw(right, series["validation_error"], color=VALIDATION, marker="o", markersize=5, label="validation digits")
    for error in series["test_error"][1][-1:]:
        # a line: as a point it would lie on the last one of the validation digits
        right.axhline(error, color=TEST, linewidth=1.4, linestyle="--", label=f"test digits, at the end: {error:.2f} %")
    _log_axis(left, "cross-entropy", series.pop("loss")[1])
    _log_axis(right, "error, %", [value for _, values in series.values() for value in values])
    if run.config.decay == "steps":
        _draw_divisions(left, right, *_series(records, "rate"))
    handles, labels = right.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle(_title(run))
    return figure


def _title(run):
    config = run.config
    transform = f" ({config.transform})" if MODELS[config.model].transformers else ""
    data = "undistorted digits" if config.data == "none" else config.data.upper()
    return f"{config.model}{transform} on {data}, seed {config.seed}"


def _series(records, name):
    """Steps and values of the records that hold `name`."""
    chosen = [(r["step"], r[name]) for r in records if name in r]
    return [step for step, _ in chosen], [value for _, value in chosen]


def _draw(ax, series, **style):
    if series[0]:
        ax.plot(*series, **style)


def _log_axis(ax, name, values):
    """A logarithmic y axis from one labelled number to another. A 0 has no logarithm: it stands in a band below."""
    positive = [v for v in values if v > 0] or [1]
    ticks = _ticks(min(positive), max(positive))
    low, high = ticks[0], ticks[-1]
    if 0 in values:
        ax.set_yscale("symlog", linthresh=low, linscale=0.4)
        ax.set_ylim(-0.2 * low, 1.1 * high)
        ax.axhspan(-0.2 * low, low, color=LINEAR, zorder=0)
        ticks, name = [0, *ticks], f"{name} (linear in the grey)"
    else:
        ax.set_yscale("log")
        ax.set_ylim(low / 1.1, 1.1 * high)
    ax.set_yticks(ticks)
    ax.set_yticks([], minor=True)
    ax.yaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="step", ylabel=name)
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)


def _ticks(low, high):
    """1, 2 and 5 times the powers of ten, over more than three decades these alone: from `low` or below to `high`."""
    factors = (1, 2, 5) if high < 1000 * low else (1,)
    exponents = range(floor(log10(low)) - 1, floor(log10(high)) + 3)
    ticks = [float(f"{factor}e{exponent}") for exponent in exponents for factor in factors]
    first = max(k for k, tick in enumerate(ticks) if tick <= low)
    last = min(k for k, tick in enumerate(ticks) if tick >= high and k > first)
    return ticks[first:last + 1]


def _draw_divisions(left, right, steps, rates):
    """Where the learning rate was divided, and what it was from there on."""
    # a record's rate is that of the step after it, so one that is new in the last record was hardly used
    changes = [(step, new) for step, (old, new) in zip(steps[1:-1], pairwise(rates[:-1]), strict=True) if new < old]
    for k, (step, rate) in enumerate(changes):
        for ax in (left, right):
            ax.axvline(step, color=DIVISION, linewidth=1, linestyle=":", label="" if k else "learning rate divided")
        if len(changes) <= RATES_NAMED:
            left.text(step, 0.98, f"rate {rate:g} ", rotation=90, fontsize=8, color=DIVISION, ha="right", va="top",
                      transform=left.get_xaxis_transform(), path_effects=[withStroke(linewidth=3, foreground="white")])
