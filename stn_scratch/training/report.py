"""Pictures of a run: its curves, what its spatial transformers look at, and the grids that they have learned."""

from stn_scratch.training.curves import draw_curves
from stn_scratch.training.grid_pictures import draw_grids
from stn_scratch.training.looks import draw_looks, look_at
from stn_scratch.training.run_folder import save_picture


def write_report(run):
    """Write curves.png, grids.png (of a network with a spatial transformer) and looks.png; gives their paths."""
    shown = look_at(run)
    # made without pyplot: they need no window, and nobody keeps them
    figures = {"curves": draw_curves(run)}
    if shown.seen:
        figures["grids"] = draw_grids(shown)
    figures["looks"] = draw_looks(shown)
    return [save_picture(figure, run.folder / f"{name}.png") for name, figure in figures.items()]
