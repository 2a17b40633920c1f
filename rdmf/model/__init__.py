"""The RDMF model: temporal diffusion, reaction-diffusion fusion, saliency head, DETR head with an IoU branch.

`Grounder` is what it has in common with the published models of `rdmf.baselines`; `build_model` makes any of them.
"""

from rdmf.model.base import Grounder
from rdmf.model.batch import Batch
from rdmf.model.build import build_model
from rdmf.model.rdmf import RDMF, Output

__all__ = ["RDMF", "Batch", "Grounder", "Output", "build_model"]
