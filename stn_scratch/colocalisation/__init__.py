"""Co-localisation (paper, App. A.2): the public names, nothing else."""

from stn_scratch.colocalisation.checks import check_alone
from stn_scratch.colocalisation.config import Config
from stn_scratch.colocalisation.learning import localiser, run
from stn_scratch.colocalisation.picture import PICTURE, draw_boxes

__all__ = ["PICTURE", "Config", "check_alone", "draw_boxes", "localiser", "run"]
