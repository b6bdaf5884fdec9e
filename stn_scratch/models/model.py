"""What a network is made of, before its width is chosen."""

from typing import NamedTuple


class Model(NamedTuple):
    """A classifier, and the spatial transformers in it.

    classifier    (width, classes) -> a list of layers
    transformers  {number of the layer before which a transformer stands: (), -> its localisation network}; a tuple of
                  such functions for transformers side by side, whose outputs are concatenated along the channels
    """

    classifier: object
    transformers: dict = {}  # noqa: RUF012  nobody writes to it
