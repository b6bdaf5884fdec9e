"""The figure: how costs grow, on logarithmic axes, and the ratios to the peers as bars."""

from functools import partial

import matplotlib

matplotlib.use("Agg")  # files only: no window, no display needed
import matplotlib.pyplot as plt
from matplotlib.ticker import LogLocator, NullFormatter

from benchmarks.scaling import COPY, EXPECTED, TITLES, WHAT
from benchmarks.timing import COMPILED

OURS, PEER, GREY = "#2166ac", "#d6604d", "#969696"
COLOURS = {"ours": OURS, COMPILED: "#67a9cf", "PyTorch": PEER, "PyTorch channels_last": "#f4a582",
           "torch.compile": "#f4a582", COPY: GREY, "a copy": GREY, "the pair": "#d9d9d9"}
WITH_COMPILED = ", our sampler compiled"
COLOURS |= {f"PyTorch{WITH_COMPILED}": OURS, f"PyTorch channels_last{WITH_COMPILED}": "#92c5de"}


def draw(data, path):
    """Draw what is there; a part that was not measured has no panel. Gives the path, or None if there is nothing."""
    parts = data["parts"]
    panels = _scaling_panels(parts)
    bars = [bar for bar in _bars(parts) if bar[-1]]
    if not panels and not bars:
        return None
    lines = min(2, len(panels))  # of panels; the bars stand below them
    heights = [1.0] * lines + [0.5 + 0.22 * max(len(bar[-1]) for bar in bars)] if bars else [1.0] * lines
    figure = plt.figure(figsize=(11, 2.6 * sum(heights)), layout="constrained")
    grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    if panels:
        columns = -(-len(panels) // lines)
        above = grid[:lines].subgridspec(lines, columns)
        for k, panel in enumerate(panels):
            panel(figure.add_subplot(above[k // columns, k % columns]))
    if bars:
        below = grid[-1].subgridspec(1, len(bars))
        for k, bar in enumerate(bars):
            _draw_bars(figure.add_subplot(below[k]), *bar)
    figure.suptitle(_caption(parts), fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def _caption(parts):
    """Where and when, and how busy the machine was: one line a device, with the most threads that a part had."""
    lines = {}
    for part in parts.values():
        facts = part["facts"]
        shown = ", ".join(f"{name} {facts['versions'][name]}" for name in ("numpy", "torch", "cupy-cuda12x",
                                                                           "cupy-cuda13x") if name in facts["versions"])
        lines.setdefault((facts["device"], shown), []).append(part)
    return "\n".join(_caption_line(device, shown, those) for (device, shown), those in lines.items())


def _caption_line(device, shown, parts):
    threads = max(part["facts"]["threads"] for part in parts)
    dates, loads = zip(*((moment["date"], moment["load"]) for part in parts for moment in part["begun"]), strict=True)
    return (f"{device}, {threads} threads, {shown}, {min(dates)[:10]}, "
            f"load when a part began: {min(loads):g} to {max(loads):g}")


def _scaling_panels(parts):
    panels = []
    if "scaling" in parts:
        entry = parts["scaling"]
        for axis in EXPECTED:
            rows = [row for row in entry["rows"] if row["axis"] == axis]
            if rows:
                fits = {fit["of"]: fit for fit in entry["fits"] if fit["axis"] == axis}
                panels.append(partial(_draw_scaling, axis=axis, rows=rows, fits=fits,
                                      threads=entry["facts"]["threads"]))
    if "memory" in parts and parts["memory"]["rows"]:
        panels.append(lambda ax: _draw_memory(ax, parts["memory"]["rows"]))
    return panels


def _draw_scaling(ax, axis, rows, fits, threads):
    """Points, the fitted line through ours, and the exponents in the legend."""
    sizes = [row["size"] for row in rows]
    for name in rows[0]["values"]:
        label = f"{name}: {fits[name]['exponent']:.2f}" if name in fits else name
        ax.loglog(sizes, [row["values"][name] for row in rows], "o", markersize=4, color=COLOURS[name], label=label)
        if name in fits:
            fit = fits[name]
            ends = [min(sizes), max(sizes)]
            ax.loglog(ends, [fit["constant"] * n ** fit["exponent"] for n in ends], color=COLOURS[name], linewidth=1)
    ax.set_title(f"{WHAT[axis]}: exponent {EXPECTED[axis]} expected", fontsize=9)
    _label(ax, TITLES[axis], f"ms, threads: {threads}", sizes)


def _draw_memory(ax, rows):
    for name in ("ours", "PyTorch"):
        points = [(row["batch"], row["values"][name]) for row in rows if name in row["values"]]
        if points:
            ax.loglog(*zip(*points, strict=True), "o-", markersize=4, linewidth=1, color=COLOURS[name], label=name)
    ax.set_title("peak memory of one step", fontsize=9)
    _label(ax, "images in the batch", "MB", [row["batch"] for row in rows])


def _label(ax, x, y, sizes):
    """Axis names, a tick at each size, and plain numbers instead of powers of ten."""
    ax.set_xlabel(x, fontsize=8)
    ax.set_ylabel(y, fontsize=8)
    ax.set_xticks(sizes, [f"{n:,}" for n in sizes], rotation=30, ha="right")
    ax.set_xticks([], minor=True)
    low, high = ax.get_ylim()
    middle = (low * high) ** 0.5
    if high < 4 * low:  # almost flat: room around it, or noise would look like growth
        ax.set_ylim(middle / 4, middle * 4)
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 500 * low else (1,)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.tick_params(labelsize=7)
    ax.grid(True, which="major", linewidth=0.3)
    ax.legend(fontsize=7, frameon=False)


def _bars(parts):
    """Title, axis name and rows with a ratio: times on the CPU, times on the GPU, and the GPU's bandwidth."""
    cpu = [row for name in ("step", "sampler", "grids") for row in parts.get(name, {"rows": []})["rows"]]
    gpu = parts.get("gpu", {"rows": []})["rows"]
    for title, rows, unit, side in (("CPU: our time / theirs", cpu, "ms", "left"),
                                    ("GPU: our time / theirs", gpu, "ms", "left"),
                                    ("GPU: our bandwidth / theirs", gpu, "GB/s", "right")):
        yield title, f"{side} of 1: ours is faster", [row for row in rows if row["ratio"] and row["unit"] == unit]


def _ratios(row):
    """Of a row, the ratio to each peer, and that with our sampler compiled where it was measured."""
    return row["ratio"] | {name + WITH_COMPILED: ratio for name, ratio in row.get("compiled", {}).items()}


def _draw_bars(ax, title, side, rows):
    """A group of bars for each row, on a logarithmic axis: from 1, as fast as the peer, to the left or right."""
    every = [_ratios(row) for row in rows]
    names = list(dict.fromkeys(name for ratios in every for name in ratios))
    height = 0.8 / len(names)
    for name in names:
        at = [(place + (list(ratios).index(name) - (len(ratios) - 1) / 2) * height, ratios[name])
              for place, ratios in enumerate(every) if name in ratios]
        places, ratios = zip(*at, strict=True)
        ax.barh(places, [ratio - 1 for ratio in ratios], left=1, height=height, color=COLOURS.get(name, GREY),
                label=name)
        for place, ratio in at:
            ax.text(ratio, place, f" {ratio:.2f} ", va="center", ha="left" if ratio > 1 else "right", fontsize=6)
    ax.set_yticks(range(len(rows)), [row["case"] for row in rows], fontsize=7)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xscale("log")
    low, high = ax.get_xlim()
    ax.set_xlim(min(low / 1.3, 0.4), max(high * 1.3, 2.5))
    low, high = ax.get_xlim()
    ax.set_xticks([n for n in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if low < n < high])
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.axvline(1, color="black", linewidth=0.8)
    ax.set_title(title, fontsize=9)
    ax.tick_params(axis="x", labelsize=7)
    ax.set_xlabel(side, fontsize=8)
    ax.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.6 / len(rows)), ncol=2)
