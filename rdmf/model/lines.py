"""How the GPU kernels divide fields into lines that one thread each walks along time, and the bytes that this moves.

A lane (one thread) owns one channel of one video and, within it, one segment of one residue class of the clips: in a
channel group that sees neighbours r clips away, the clips k, k + r, k + 2 r, ... never meet the others, so they are a
line of their own whose neighbours are next to each other. A lane walks its segment once with all steps under way at
once, each a row behind the one before; what is in flight stays in registers, nothing is exchanged between threads, and
a line may have any length: there is no other kernel for long videos. Rows beyond a segment's ends are read and
computed again by its neighbours (the halo): N rows on either side forward, 2 N where the backward pass computes the
states again.

Nothing here needs a GPU or Triton; `rdmf.model.triton_lines` is the same within a kernel.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

#: Threads of a program, one lane each.
LANES = 64
#: Lanes that one multiprocessor of an H100 or H200 holds at once, by the registers that a lane takes
#: (benchmarks/kernel_registers.py): so many give one full wave of programs, and none that has to wait for it to end.
REACTION_LANES, REACTION_BACKWARD_LANES, HEAT_LANES = 768, 384, 896
#: Rows of one turn of a walk's loop: whole turns are walked.
TURN = 4
#: Rows read ahead into registers; the reaction's backward walk needs its registers for other things.
AHEAD, REACTION_BACKWARD_AHEAD = TURN, 1
#: Rows of the shortest segment that is worth a lane.
SHORTEST = 8
#: Steps of one launch: a backward walk of the reaction keeps N (N + 2) rows of each species in registers, of which 5
#: steps fit without spilling, and one of the heat equation 2 (K - 1). More steps go in several launches.
REACTION_STEPS, HEAT_STEPS = 5, 16


def pieces(steps: int, most: int) -> list[int]:
    """Whole numbers of at most `most`, as equal as can be, whose sum is `steps`: the launches."""
    count = -(-steps // most)
    return [steps // count + (i < steps % count) for i in range(count)]


@functools.lru_cache(maxsize=4096)
def segment_rows(batch: int, length: int, width: int, scales: int, behind: int, lanes: int) -> int:
    """How many rows a segment has at most, so that a launch is over soonest.

    Short segments walk their halo more often; long ones may leave lanes idle, or begin a second wave of programs with a
    few of them. A wave takes as long as its walk, and one that is not full takes half of that at least: a lane that is
    alone waits for its own results.

    Args:
        batch, length, width, scales: B, L, d and time scales.
        behind: rows of a walk that are not its own.
        lanes: how many the device holds at once.
    """
    room = max(1, lanes // LANES)
    most = max(1, length // SHORTEST)
    counts = sorted({min(most, n) for n in range(1, 33)} | {min(most, round(32 * 1.1**i)) for i in range(1, 70)})

    def cost(count: int) -> float:
        rows = -(-length // count)
        waves = batch * geometry(length, width, scales, rows)[0] / room
        last = waves % 1
        return (waves - last + (max(last, 0.5) if last else 0.0)) * _walked(rows + behind)

    return -(-length // min(counts, key=cost))


def _walked(rows: int) -> int:
    """Rows of the turns that it takes to walk that many."""
    return -(-rows // TURN) * TURN


def geometry(length: int, width: int, scales: int, rows: int) -> tuple[int, int]:
    """(programs a video, segments times residues of the group that has most) for segments of at most `rows` rows."""
    programs = most = 0
    for channels, reach, segments, _ in _groups(length, width, scales, rows):
        programs += -(-(segments * reach * channels) // LANES)
        most = max(most, segments * reach)
    return programs, most


def _groups(length: int, width: int, scales: int, rows: int) -> list[tuple[int, int, int, int]]:
    """(channels, reach, segments, rows of a segment) of each channel group; as `triton_lines.lanes_of` has it."""
    group, out = -(-width // scales), []
    for g in range(scales):
        channels = min(group, width - g * group)
        if channels > 0:
            line = -(-length // 2**g)
            segments = -(-line // rows)
            out.append((channels, 2**g, segments, -(-line // segments)))
    return out


@dataclass(frozen=True)
class Traffic:
    """Bytes between a kernel and memory, for whole fields without padding; sums over lanes for the rates left out.

    Attributes:
        least: every field that goes in read once, every field that comes out written once.
        moved: what the lanes ask for, halos and intermediate states included. Caches may answer part of it.
    """

    least: int
    moved: int

    @property
    def excess(self) -> float:
        """moved / least, 1 at best."""
        return self.moved / self.least


def reaction_bytes(
    batch: int,
    length: int,
    width: int,
    steps: int,
    itemsize: int,
    *,
    scales: int = 1,
    backward: bool = False,
    lanes: int | None = None,
) -> Traffic:
    """What the reaction's GPU kernel moves: N steps on two (B, L, d) fields of `itemsize` bytes a number.

    Backward, two fields and two gradients go in and two gradients come out; the states between are computed again. More
    than REACTION_STEPS steps go in several launches with a float32 state between them.

    Args:
        lanes: what the device is given; default: an H100's 132 multiprocessors.
    """
    halo, ahead = (4, REACTION_BACKWARD_AHEAD) if backward else (2, AHEAD)
    lanes = lanes or 132 * (REACTION_BACKWARD_LANES if backward else REACTION_LANES)
    launches = pieces(steps, REACTION_STEPS)
    read, written = (4, 2) if backward else (2, 2)
    moved = 0
    for i, n in enumerate(launches):
        # Between launches fields and gradients are float32, at the two ends they are as the caller has them.
        fields_in = 4 if i else itemsize
        ends = 4 if i < len(launches) - 1 else itemsize
        rows = segment_rows(batch, length, width, scales, halo * n, lanes)
        asked = _rows_asked(batch, length, width, scales, rows, halo * n, ahead)
        own = batch * length * width
        into = (2 * fields_in + 2 * ends) if backward else 2 * fields_in
        moved += asked * into + own * 2 * (fields_in if backward else ends)
    rates = 4 * batch * width * 4
    return Traffic((read + written) * batch * length * width * itemsize + rates, moved + rates * len(launches))


def diffusion_bytes(
    batch: int,
    length: int,
    width: int,
    steps: int,
    itemsize: int,
    *,
    backward: bool = False,
    lanes: int | None = None,
) -> Traffic:
    """What the heat equation's GPU kernel moves: K steps on a (B, L, d) field; see `reaction_bytes`.

    Backward, the field and the result's gradient go in and the field's gradient comes out; only the gradient is walked.
    """
    launches, own = pieces(steps, HEAT_STEPS), batch * length * width
    moved = 0
    for n in launches:
        size = itemsize if len(launches) == 1 else 4
        rows = segment_rows(batch, length, width, 1, 2 * n, lanes or 132 * HEAT_LANES)
        asked = _rows_asked(batch, length, width, 1, rows, 2 * n, AHEAD)
        moved += size * (asked + own * (2 if backward else 1))
    return Traffic((3 if backward else 2) * own * itemsize + 4 * width, moved + 4 * width * len(launches))


def _rows_asked(batch: int, length: int, width: int, scales: int, rows: int, behind: int, ahead: int) -> int:
    """Numbers that the lanes read of one field: their rows and the halo in whole turns, and `ahead` rows more."""
    return batch * sum(
        channels * reach * segments * (_walked(size + behind) + ahead)
        for channels, reach, segments, size in _groups(length, width, scales, rows)
    )
