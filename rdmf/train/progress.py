"""What a person sees while a model trains: one live line on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from typing import TextIO


class Progress:
    """Reports epochs; silent when `quiet`.

    On a terminal the line is rewritten in place; in a log file about twenty lines cover the whole training.
    """

    def __init__(self, epochs: int, *, quiet: bool = False, stream: TextIO | None = None) -> None:
        self.epochs, self.quiet = epochs, quiet
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty()
        self.begun = time.monotonic()
        self.first: int | None = None

    def epoch(self, number: int, loss: float, scores: dict[str, float], *, best: bool, rate: float) -> None:
        """After epoch `number` (from 1): mean loss, hold-out scores, samples a second."""
        if self.quiet:
            return
        if self.first is None:
            self.first = number - 1
        spent = time.monotonic() - self.begun
        left = spent / (number - self.first) * (self.epochs - number)
        shown = "  ".join(f"{k} {scores[k]:5.1f}" for k in ("R1@0.5", "R1@0.7", "mIoU", "saliency mAP") if k in scores)
        line = f"epoch {number:>{len(str(self.epochs))}}/{self.epochs}  loss {loss:7.3f}  {shown}"
        line += f"{'  *' if best else '   '} {rate:7.0f} samples/s  {_clock(left)} left"
        if self.live:
            self.stream.write(f"\r\x1b[2K{line}")
        elif number == self.epochs or number % max(1, self.epochs // 20) == 0:
            self.stream.write(line + "\n")
        self.stream.flush()

    def say(self, text: str) -> None:
        """A line of its own."""
        if not self.quiet:
            self.stream.write(("\r\x1b[2K" if self.live else "") + text + "\n")
            self.stream.flush()

    def close(self) -> None:
        """End the live line."""
        if self.live and not self.quiet and self.first is not None:
            self.stream.write("\n")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
