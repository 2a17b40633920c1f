"""The RDMF model: temporal diffusion, reaction-diffusion fusion, saliency head, DETR head with an IoU branch."""

from rdmf.model.batch import Batch
from rdmf.model.rdmf import RDMF, Output

__all__ = ["RDMF", "Batch", "Output"]
