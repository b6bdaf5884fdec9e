"""Equations beside code, from the docstrings and comments of the code itself: one source, nothing to drift apart."""

from stn_scratch.reading.names import find
from stn_scratch.reading.page import beside, page, rows
from stn_scratch.reading.pixel import explain_pixel, journey

__all__ = ["beside", "explain_pixel", "find", "journey", "page", "rows"]
