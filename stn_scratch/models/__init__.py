"""The paper's networks, and from a name to one of them: the public names, nothing else."""

from stn_scratch.models.build import (
    MODELS,
    PARAMETERS,
    SAMPLERS,
    build_model,
    count_parameters,
    make_network,
    predict,
)
from stn_scratch.models.digits import cnn, fcn_localisation, feature_localisation

__all__ = ["MODELS", "PARAMETERS", "SAMPLERS", "build_model", "cnn", "count_parameters", "fcn_localisation",
           "feature_localisation", "make_network", "predict"]
