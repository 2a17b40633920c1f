"""What a packet's bytes say of how others depend on it, in the codecs and wrappings where that is certain.

A container's word for "key frame" is not enough: H.264 recovery points need the frames before them, and some muxers
mark whatever begins with an I slice. So the units inside are looked at (ITU-T H.264 table 7-1, H.265 table 7-1,
ISO 14496-2 section 6.2.3), and whatever is not understood means that everything is decoded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

#: Others may depend on it and it on others; decoding can begin at it; nothing depends on it.
NEEDED, BEGINNING, SPARE = 0, 1, 2

_SLICES_H264, _IDR_H264, _SETS_H264 = range(1, 6), 5, (7, 8)
_SLICES_HEVC, _BEGINNINGS_HEVC, _SETS_HEVC = range(32), range(16, 22), (32, 33, 34)
_VOP, _I, _B = b"\0\0\1\xb6", 0, 2


class PacketReader:
    """Tells the kind of each packet of a stream, given in the order of the file.

    Args:
        codec: FFmpeg's name of the decoder.
        extradata: the stream's header as the container keeps it.

    Attributes:
        sure: False once something was met that is not understood: the kinds say nothing then.
    """

    def __init__(self, codec: str, extradata: bytes) -> None:
        self._codec = codec
        self._prefix = 0  # bytes of the length before each unit
        # Only units after their lengths (mp4, Matroska): there the parameter sets are in the header.
        if codec == "h264" and len(extradata) > 6 and extradata[0] == 1:
            self._prefix = (extradata[4] & 3) + 1
        elif codec == "hevc" and len(extradata) > 22 and extradata[0] == 1:
            self._prefix = (extradata[21] & 3) + 1
        self.sure = self._prefix > 0 or codec == "mpeg4"
        self._sets: bytes | None = None

    def kind(self, packet: Any) -> int:
        """`NEEDED`, `BEGINNING` or `SPARE`, of a PyAV packet."""
        # A file put together from several may bring a new header along, which holds until the next one.
        self.sure &= hasattr(packet, "has_sidedata") and not packet.has_sidedata("new_extradata")
        return self.kind_of(memoryview(packet)) if self.sure else NEEDED

    def kind_of(self, data: memoryview) -> int:
        """The same of a packet's bytes alone."""
        if self._codec == "mpeg4":
            return _mpeg4(bytes(data))
        units = list(_units(data, self._prefix))
        if not units:
            self.sure = False
            return NEEDED
        return self._h264(units) if self._codec == "h264" else self._hevc(units)

    def _h264(self, units: list[memoryview]) -> int:
        kinds = [unit[0] & 31 for unit in units]
        slices = [(kind, unit[0] >> 5 & 3) for kind, unit in zip(kinds, units) if kind in _SLICES_H264]
        beginning = bool(slices) and all(kind == _IDR_H264 for kind, _ in slices)
        self._check_sets([unit for kind, unit in zip(kinds, units) if kind in _SETS_H264], beginning)
        if beginning:
            return BEGINNING
        return SPARE if slices and all(kind == 1 and referred == 0 for kind, referred in slices) else NEEDED

    def _hevc(self, units: list[memoryview]) -> int:
        kinds = [unit[0] >> 1 & 63 for unit in units]
        slices = [kind for kind in kinds if kind in _SLICES_HEVC]
        beginning = bool(slices) and all(kind in _BEGINNINGS_HEVC for kind in slices)
        self._check_sets([unit for kind, unit in zip(kinds, units) if kind in _SETS_HEVC], beginning)
        return BEGINNING if beginning else NEEDED

    def _check_sets(self, sets: list[memoryview], beginning: bool) -> None:
        """Parameter sets inside packets hold until others come; what is left out must not hold new ones."""
        joined = b"".join(sets)
        if beginning:
            self.sure &= self._sets in (None, joined)
            self._sets = joined
        elif joined:
            self.sure = False


def _units(data: memoryview, prefix: int) -> Iterator[memoryview]:
    """The units of a packet, each after its length; none where the lengths do not add up."""
    units, at = [], 0
    while at + prefix < len(data):
        size = int.from_bytes(data[at : at + prefix], "big")
        at += prefix
        if size == 0 or at + size > len(data):
            return
        units.append(data[at : at + size])
        at += size
    if at == len(data):
        yield from units


def _mpeg4(data: bytes) -> int:
    at = data.find(_VOP)
    if at < 0 or at + 4 >= len(data) or data.find(_VOP, at + 4) >= 0:  # none, or several packed into one
        return NEEDED
    return {_I: BEGINNING, _B: SPARE}.get(data[at + 4] >> 6, NEEDED)
