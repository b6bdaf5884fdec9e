"""What is seen on the screen: a line a row, and the exponents."""

from benchmarks.scaling import TITLES, WHAT

NAMES = {"step": "(a) one training step", "sampler": "(b) sampler, forward and backward",
         "grids": "(c) grids, forward and backward", "scaling": "(d) cost against size, one thread",
         "memory": "(e) peak memory of one training step", "gpu": "(f) on the GPU"}
WIDTH = 40


def header(part):
    return f"\n{NAMES[part]:<{WIDTH + 5}}{'ours':>10}   others, and in brackets ours / other"


def line(row):
    """case, unit, ours, and each peer with the ratio of ours to it, and of ours compiled where that was measured."""
    values = dict(row["values"])
    others = [f"{name} {_short(value)}" + _ratios(row, name) for name, value in values.items() if name != "ours"]
    return f"{row['case']:<{WIDTH}} {row['unit']:<4}{_short(values['ours']):>10}   {'   '.join(others)}".rstrip()


def _ratios(row, name):
    found = [f"{row[kind][name]:.2f}" for kind in ("ratio", "compiled") if name in row.get(kind, {})]
    return f" ({', compiled '.join(found)})" if found else ""


def fits(found):
    """The fitted exponents beside the expected ones."""
    return [f"{WHAT[fit['axis']]} against {TITLES[fit['axis']]}, {fit['of']}: exponent {fit['exponent']:.2f}, "
            f"expected {fit['expected']}; the farthest point is off by a factor {fit['off']:.2f}" for fit in found]


def _short(value):
    """Three digits that count."""
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"
