"""Decoding a video for rows that look at few of its frames: everything, or only what those frames need."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from rdmf_extract.decode.decord_reader import objection, read_decord
from rdmf_extract.decode.events import DecodeError, Finished
from rdmf_extract.decode.probe import Probe, probe
from rdmf_extract.decode.pyav_reader import read_everything, read_pyav
from rdmf_extract.sampling import Sampling
from rdmf_pipelines.benching.sheet import Sheet, entry
from rdmf_pipelines.benching.turns import in_turns

GROUP = "decoding only what is used"
DECORD, EVERYTHING, SELECTED = "Decord, everything", "PyAV, everything", "PyAV, what is used"
LOOKS = (16.0, 8.0, 2.0, 0.2, 0.02)  # frames looked at per second


def measure_selection(sheet: Sheet, files: Sequence[Path], *, turns: int, tell: Callable[[str], None]) -> None:
    """Fill in the group: processor seconds of each way for several rates of looking.

    Decord is measured where every file is one that `rdmf extract` would give it.
    """
    probes: list[Probe] = []
    for file in files:
        try:
            probes.append(probe(file))
        except DecodeError:
            continue  # what cannot be decoded at all is told by the extraction itself
    usual = Sampling(1.0, 1.0, 1.0, 1, 256, 224)
    trusted = all(not objection(facts, usual) for facts in probes)
    for fps in LOOKS:
        tell(f"{GROUP}: {fps:g} frames a second")
        sampling = Sampling(fps, 1 / fps, 1 / fps, 1, 256, 224)
        decoded: dict[str, int] = {}

        def through(name: str, sampling: Sampling, decoded: dict[str, int]) -> None:
            reader = {DECORD: read_decord, EVERYTHING: read_everything, SELECTED: read_pyav}[name]
            ends = [event for p in probes for event in reader(p, sampling, _nothing) if isinstance(event, Finished)]
            decoded[name] = sum(end.decoded for end in ends)

        names = [DECORD, EVERYTHING, SELECTED] if trusted else [EVERYTHING, SELECTED]
        ways = {name: partial(through, name, sampling, decoded) for name in names}
        taken = in_turns(ways, seconds=0, turns=turns, least=turns, clock=time.process_time)
        for name in names:
            against = "" if name == names[0] else names[0]
            more = {"decoded": decoded[name], "of frames": sum(p.packets for p in probes)}
            case = f"{fps:g} frames a second"
            sheet.entries.append(entry(GROUP, case, name, taken[name], against=against, more=more))
    sheet.about[GROUP] = "Processor seconds, in one process; the frames are the same, bit for bit, by either PyAV way."


def _nothing() -> None:
    pass
