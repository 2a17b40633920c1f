"""The coefficients of one reaction-diffusion run, for many channels and queries at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdmf.analysis.discrete import implicit

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Coefficients:
    """What the steps of one block are taken with. The arrays have one shape, usually (queries, channels).

    Attributes:
        feed, kill: F and k. activator, substrate: D_a and D_s per unit of time (eta * D is what one step uses).
        step: eta. integrator: "euler" or "split".
    """

    feed: Floats
    kill: Floats
    activator: Floats
    substrate: Floats
    step: float
    integrator: str

    @property
    def implicit(self) -> float:
        """eta for the split step, which rests at states of its own, else 0; see `rdmf.analysis.equilibria`."""
        return implicit(self.step, self.integrator)

    @property
    def arrays(self) -> tuple[Floats, Floats, Floats, Floats]:
        """feed, kill, activator, substrate."""
        return self.feed, self.kill, self.activator, self.substrate

    def mapped(self, change: Callable[[Floats], Floats]) -> Coefficients:
        """The same with every array replaced by what `change` makes of it."""
        feed, kill, activator, substrate = (change(v) for v in self.arrays)
        return Coefficients(feed, kill, activator, substrate, self.step, self.integrator)

    def pick(self, chosen: NDArray[Any] | tuple[Any, ...]) -> Coefficients:
        """The same with every array indexed by `chosen`."""
        return self.mapped(lambda v: np.asarray(v[chosen]))

    def median(self) -> Coefficients:
        """Every coefficient's median over channels and queries: one operating point, (1,) arrays."""
        return self.mapped(lambda v: np.median(v).reshape(1))
