"""What every model offers: the trainer, the prediction and the runs know a model by this alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rdmf.config import Config
from rdmf.model.batch import Batch
from rdmf.model.curves import Floats, logit
from rdmf.store import InputError

if TYPE_CHECKING:
    from rdmf.train.losses import Targets


class Grounder(nn.Module, ABC):
    """A model that finds moments of a video for a sentence.

    Args:
        config: all settings; a model reads `config.model` and its own section.
        video_dim, text_dim: widths of the features, as the cache says.

    Attributes:
        loss_of_output: whether the loss depends on the weights through the output alone. Where it does not, several
            processes cannot compute the whole batch's loss from gathered outputs and average their gradients instead.
        saliency_has_zero: whether a curve near 0 says that nothing is salient. Where it does not, only the differences
            along a video say something.
    """

    loss_of_output = True
    saliency_has_zero = True

    def __init__(self, config: Config, video_dim: int, text_dim: int) -> None:
        super().__init__()
        self.config, self.video_dim, self.text_dim = config, video_dim, text_dim

    @abstractmethod
    def forward(self, batch: Batch) -> Any:
        """An output with at least `saliency` (B, L), higher where a clip is more salient; padding means nothing."""

    @abstractmethod
    def loss(self, output: Any, batch: Batch, targets: Targets) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted total to minimise, and its parts by name, unweighted and detached, for the history."""

    @abstractmethod
    def candidates(self, output: Any) -> tuple[Tensor, Tensor]:
        """Spans (B, Q, 2) as (centre, width) shares of the duration, and their scores (B, Q) in [0, 1], or -1: none."""

    def arranged(self, source: Tensor) -> tuple[Tensor, ...]:
        """What a training step must know on the host of which samples are about one video, as places in the batch.

        With their numbers the shape of a step is known, so that it can be recorded; `Batch.source` may be such places
        instead. A model that does not look at the source needs none.

        Args:
            source: (B,) int64, on the host.
        """
        return ()

    def curve(self, output: Any) -> Tensor:
        """Saliency (B, L) in [0, 1], ordered as `output.saliency`: what is written and drawn."""
        return torch.sigmoid(output.saliency)

    def raw_saliency(self, curve: NDArray[Any]) -> Floats:
        """Saliency as the model said it, out of a curve in [0, 1] of any shape: what `rdmf.reading` sums up."""
        return logit(curve)

    def check_widths(self, batch: Batch) -> None:
        """Refuse features of other widths than the model was built for.

        Raises:
            InputError: with both pairs of widths.
        """
        video, text = batch.widths
        if video != self.video_dim or text != self.text_dim:
            raise InputError(
                f"this model takes {self.video_dim}-d video and {self.text_dim}-d text features, "
                f"the cache has {video} and {text}"
            )


def describe(model: nn.Module) -> str:
    """Number of trainable parameters, for people."""
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return f"{count / 1e6:.2f} M parameters" if count >= 1e5 else f"{count} parameters"
