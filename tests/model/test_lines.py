"""How GPU kernels divide fields: everything is covered, and the bytes are those that the geometry implies."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rdmf.model.lines import (
    HEAT_STEPS,
    LANES,
    REACTION_STEPS,
    SHORTEST,
    TURN,
    diffusion_bytes,
    geometry,
    pieces,
    reaction_bytes,
    segment_rows,
)

lengths, widths, scales = st.integers(1, 3000), st.integers(1, 300), st.integers(1, 8)


@given(st.integers(1, 200), st.integers(1, 20))
def test_launches_are_equal_and_no_larger_than_they_may_be(steps: int, most: int) -> None:
    parts = pieces(steps, most)
    assert sum(parts) == steps
    assert max(parts) <= most
    assert max(parts) - min(parts) <= 1
    assert len(parts) == -(-steps // most)


@given(lengths, widths, scales, st.integers(1, 400))
def test_lanes_cover_every_number_once(length: int, width: int, scales: int, rows: int) -> None:
    programs, most = geometry(length, width, scales, rows)
    lanes = programs * LANES
    assert lanes * rows >= length * width
    # At most a lane too many for every residue and channel, and a program too many for every group.
    assert (programs - scales) * LANES <= width * (length / rows + 2**scales) + 1
    assert most >= -(-length // rows)


@given(st.integers(1, 600), lengths, widths, scales, st.integers(0, 40), st.integers(1, 100_000))
def test_segments_are_as_long_as_pays(
    batch: int, length: int, width: int, scales: int, behind: int, lanes: int
) -> None:
    rows = segment_rows(batch, length, width, scales, behind, lanes)
    assert min(length, SHORTEST) <= rows <= length
    room = max(1, lanes // LANES)

    def rounds(rows: int) -> int:
        """Walks one after the other, in waves of as many programs as there is room for."""
        walked = -(-(rows + behind) // TURN) * TURN
        return -(-batch * geometry(length, width, scales, rows)[0] // room) * walked

    # What is reckoned lies between half of that and that.
    assert rounds(rows) <= 2 * rounds(length)


def test_segments_fill_a_device_and_no_more() -> None:
    assert segment_rows(1, 1000, LANES, 1, 10, LANES) == 1000, "one program at a time walks no halo twice"
    assert segment_rows(1, 1000, LANES, 1, 10, 10 * LANES) in range(100, 205), "lanes that lie idle cost nothing"
    assert segment_rows(1000, 1000, LANES, 1, 10, 10 * LANES) > 300, "there are enough without"


def test_bytes_by_hand() -> None:
    """One lane a channel: 2 fields of 100 rows and a halo of 2 N = 10 rows, in turns of 4, and 4 rows ahead: 116."""
    found = reaction_bytes(1, 100, 64, 5, 4, lanes=64)
    assert found.least == 4 * (4 * 100 * 64) + 4 * 64 * 4
    assert found.moved == 4 * 64 * (2 * 116 + 2 * 100) + 4 * 64 * 4
    back = reaction_bytes(1, 100, 64, 5, 4, lanes=64, backward=True)
    assert back.least == 4 * (6 * 100 * 64) + 4 * 64 * 4
    assert back.moved == 4 * 64 * (4 * 121 + 2 * 100) + 4 * 64 * 4  # 4 N = 20 rows more, and one read ahead
    heat = diffusion_bytes(1, 100, 64, 10, 2, lanes=64)
    assert heat.least == 2 * 2 * 100 * 64 + 4 * 64
    assert heat.moved == 2 * 64 * (124 + 100) + 4 * 64


@given(
    st.integers(1, 32), lengths, widths, st.integers(1, 12), st.sampled_from([2, 4]), st.integers(1, 4), st.booleans()
)
def test_no_kernel_moves_less_than_the_least(
    batch: int, length: int, width: int, steps: int, itemsize: int, scales: int, backward: bool
) -> None:
    assert reaction_bytes(batch, length, width, steps, itemsize, scales=scales, backward=backward).excess >= 1
    assert diffusion_bytes(batch, length, width, steps, itemsize, backward=backward).excess >= 1


def test_long_videos_come_close_to_the_least() -> None:
    for backward in (False, True):
        assert reaction_bytes(4, 20000, 256, REACTION_STEPS, 4, scales=4, backward=backward).excess < 1.2
        assert diffusion_bytes(4, 20000, 256, HEAT_STEPS, 4, backward=backward).excess < 1.2
