"""Which packets of a file must be decoded for the frames that rows look at; the others are read past.

Packets are left out, in the order of the file, rather than sought: there is no index to trust and no seek to miss. Two
kinds are left out: whole groups of pictures in which no row looks at anything, and frames that nothing refers to.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from rdmf_extract.decode.packets import BEGINNING, SPARE
from rdmf_extract.decode.probe import Probe
from rdmf_extract.sampling import Sampling
from rdmf_extract.windows import Timeline

CONTAINERS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "matroska")
MOST_SENT = 0.9  # of the packets; where less is saved it is not worth leaving the plain way

#: What is done with a packet: it is read past, decoded, or decoded after what was under way is brought to its end.
PASS, SEND, ANEW = 0, 1, 2


@dataclass(frozen=True)
class Selection:
    """A file's packets, for one sampling.

    Attributes:
        wanted: seconds from the first frame of the frames that rows look at, rising.
        actions: `PASS`, `SEND` or `ANEW` for each packet, in the order of the file.
    """

    wanted: tuple[float, ...]
    actions: bytes


def select(probe: Probe, sampling: Sampling) -> Selection | None:
    """What to decode of this file; None where it is all of it, or where it is not certain what depends on what."""
    if not _is_sure(probe):
        return None
    wanted = wanted_frames(probe.times, sampling)
    actions = _actions(probe, wanted)
    if actions is None or len(actions) - actions.count(PASS) > MOST_SENT * len(actions):
        return None
    return Selection(tuple(stamp - probe.times[0] for stamp in wanted), actions)


def wanted_frames(times: Sequence[float], sampling: Sampling) -> list[float]:
    """Of frames shown from `times` on (seconds, rising), those that rows look at and the last one."""
    timeline = Timeline(sampling)
    wanted = [shown for shown, until in pairwise(times) if timeline.advance(until - times[0])]
    return [*wanted, times[-1]]


def _is_sure(probe: Probe) -> bool:
    """Whether the packets tell everything: each with a time of its own, none damaged, beginning where decoding can."""
    return (
        probe.container in CONTAINERS
        and probe.video_streams == 1
        and len(probe.kinds) == len(probe.order) == len(probe.times) == probe.packets == probe.expected_frames
        and not (probe.cut_short or probe.corrupt_packets or probe.discarded_packets or probe.untimed_packets)
        and probe.kinds[0] == BEGINNING
        and probe.order[0] == probe.times[0]
    )


def _actions(probe: Probe, wanted: Sequence[float]) -> bytes | None:
    order, kinds = probe.order, probe.kinds
    chosen = set(wanted)
    stretches = _stretches(order, kinds, [i for i, stamp in enumerate(order) if stamp in chosen])
    if stretches is None:
        return None
    actions = bytearray(len(order))
    # The first packet in any case: some encoders say there, and only there, what they are.
    actions[0] = SEND
    for first, last in stretches:
        for i in range(first, last + 1):
            actions[i] = PASS if kinds[i] == SPARE and order[i] not in chosen else SEND
        if first > 1:
            actions[first] = ANEW
    return bytes(actions)


def _stretches(order: Sequence[float], kinds: bytes, positions: Sequence[int]) -> list[tuple[int, int]] | None:
    """(first, last) packets of the runs to decode for the frames at these positions, apart from each other and rising.

    Each begins where decoding can, and holds what its frames need. None where one needs what the file does not hold.
    """
    beginnings = [i for i, kind in enumerate(kinds) if kind == BEGINNING]
    stretches: list[tuple[int, int]] = []
    for i in positions:
        at = bisect_right(beginnings, i) - 1
        if order[i] < order[beginnings[at]]:  # shown before the beginning it comes after, so it may need what precedes
            at -= 1
        if at < 0:
            return None
        first = beginnings[at]
        while stretches and stretches[-1][1] >= first - 1:
            first = min(first, stretches.pop()[0])
        stretches.append((first, i))
    return stretches
