"""Rows made ready for the widest product: the kernel against PyTorch's operations, and rows against tensors."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rdmf.model import Batch, kernels, native
from rdmf.model.layers import Projection
from rdmf.model.rows import Rows, prepared

needs_kernel = pytest.mark.skipif(native.library() is None, reason="no C compiler here: the kernel is not in use")
STORED = (torch.float32, torch.float16, torch.bfloat16)


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kernels.SWITCH, "plain")


def rows_of(count: int, picked: list[int], width: int, dtype: torch.dtype, seed: int) -> Rows:
    """Rows of a table of made-up numbers, far from mean 0."""
    generator = torch.Generator().manual_seed(seed)
    table = 3 * torch.randn(count, width, generator=generator) + torch.randn(count, 1, generator=generator)
    return Rows(table.to(dtype), torch.tensor(picked, dtype=torch.int64).clamp_max(count - 1)[None])


def without_kernel(x: Tensor | Rows, **options: object) -> Tensor:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(kernels.SWITCH, "plain")
        return prepared(x, **options)  # type: ignore[arg-type]


@needs_kernel
@settings(deadline=None, max_examples=80)
@given(
    st.integers(1, 5),
    st.lists(st.integers(-1, 4), max_size=7),
    st.sampled_from([1, 2, 3, 15, 16, 17, 31, 64, 101, 512]),
    st.sampled_from(STORED),
    st.sampled_from([torch.float32, torch.bfloat16]),
    st.sampled_from([0.0, 0.1, 0.3, 0.9]),
    st.integers(0, 99),
)
def test_the_kernel_does_what_pytorch_does(
    count: int, picked: list[int], width: int, stored: torch.dtype, wanted: torch.dtype, rate: float, seed: int
) -> None:
    """The same numbers are dropped, and the others are equal to the rounding of `wanted`."""
    rows = rows_of(count, picked, width, stored, seed)
    options = {"eps": 1e-5, "rate": rate, "training": True, "dtype": wanted}
    torch.manual_seed(seed)
    ours = prepared(rows, **options)  # type: ignore[arg-type]
    torch.manual_seed(seed)
    theirs = without_kernel(rows, **options)
    assert ours.dtype == theirs.dtype == wanted
    assert ours.shape == theirs.shape == rows.shape
    # Plain code rounds before and after it scales up.
    tolerance = 1e-5 if wanted == torch.float32 else 2.0**-7
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=1e-4)
    assert torch.equal(ours[rows.index < 0], torch.zeros_like(ours[rows.index < 0]))


@needs_kernel
@pytest.mark.parametrize("dtype", STORED)
def test_a_tensor_is_a_table_of_its_own_rows(dtype: torch.dtype) -> None:
    table = torch.randn(6, 33).to(dtype)
    every = Rows(table, torch.arange(6).view(2, 3))
    options = {"eps": 1e-5, "rate": 0.0, "training": False, "dtype": torch.float32}
    ours = prepared(table.view(2, 3, 33), **options)  # type: ignore[arg-type]
    assert torch.equal(ours, prepared(every, **options))  # type: ignore[arg-type]
    torch.testing.assert_close(ours, torch.nn.functional.layer_norm(table.float(), (33,)).view(2, 3, 33))


@needs_kernel
def test_all_half_precision_numbers_are_read_right() -> None:
    numbers = torch.arange(-(2**15), 2**15).to(torch.int16)
    for dtype in (torch.float16, torch.bfloat16):
        table = numbers.view(dtype)
        table = table[torch.isfinite(table) & (table.abs() < 1e4)].view(-1, 1).repeat(1, 2)
        table[:, 1] = 0
        # Two numbers, one of them 0: they become +1 and -1 times a shrinking that tells the first one's size.
        ours = prepared(table, eps=1.0, rate=0.0, training=False, dtype=torch.float32)
        half = table[:, 0].double() / 2
        torch.testing.assert_close(ours[:, 0].double(), half / (half * half + 1).sqrt(), rtol=1e-6, atol=1e-12)


@needs_kernel
@pytest.mark.parametrize("width", [7, 64])
def test_several_threads_drop_the_same_numbers(width: int) -> None:
    rows, before, found = rows_of(40, list(range(40)), width, torch.float16, 0), torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            torch.manual_seed(1)
            found.append(prepared(rows, eps=1e-5, rate=0.4, training=True))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)


def test_share_of_dropped_numbers_and_their_mean() -> None:
    rows = rows_of(1, [0] * 500, 401, torch.float32, 2)
    torch.manual_seed(0)
    out = prepared(rows, eps=1e-5, rate=0.3, training=True)
    zero = (out == 0).double().mean()
    assert abs(float(zero) - 0.3) < 5 * (0.3 * 0.7 / out.numel()) ** 0.5 + 1 / 65536
    whole = prepared(rows, eps=1e-5, rate=0.3, training=False)
    assert abs(float((out * whole).mean() - (whole * whole).mean())) < 0.02
    with pytest.raises(ValueError, match=r"\[0, 1\], not -0.1"):
        prepared(rows, eps=1e-5, rate=-0.1, training=False)


@needs_kernel
def test_features_that_want_a_gradient_get_one() -> None:
    x = torch.randn(3, 8, requires_grad=True)
    (gradient,) = torch.autograd.grad(prepared(x, eps=1e-5, rate=0.5, training=True).square().sum(), x)
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize("dtype", STORED)
def test_a_projection_takes_rows_as_it_takes_tensors(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    rows, projection = rows_of(5, [3, 0, -1, 4], 33, dtype, 1), Projection(33, 8, 0.2).eval()
    assert torch.equal(rows.gathered()[0, 2], torch.zeros(33))
    torch.testing.assert_close(projection(rows), projection(rows.gathered()))


def test_a_projection_works_on_hours_of_rows_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    from rdmf.model import layers

    rows, projection = rows_of(50, list(range(50)), 6, torch.float16, 1), Projection(6, 4, 0.0).eval()
    whole = projection(rows).detach()
    monkeypatch.setattr(layers, "PIECE", 7)
    with torch.no_grad():
        torch.testing.assert_close(projection(rows), whole)


def batch_of(video: Tensor | Rows, text: Tensor | Rows) -> Batch:
    length, words = video.shape[1], text.shape[1]
    edges = torch.linspace(0, 1, length + 1)[None]
    return Batch(
        video=video,
        video_mask=torch.ones(1, length, dtype=torch.bool),
        edges=edges,
        text=text,
        text_mask=torch.ones(1, words, dtype=torch.bool),
        source=torch.zeros(1, dtype=torch.int64),
    )


def test_a_batch_gathers_when_somebody_looks_and_no_earlier() -> None:
    video, text = rows_of(9, [4, 5, 6], 5, torch.float16, 0), rows_of(4, [1, 0], 3, torch.float32, 1)
    batch = batch_of(video, text)
    assert batch.stored == (video, text)
    assert batch.widths == (5, 3)
    assert batch.lengths.tolist() == [3]
    assert batch.stored[0] is video
    assert torch.equal(batch.video, video.table[4:7].float()[None])
    assert batch.video is batch.video  # gathered once
    assert batch.stored == (batch.video, text)
    whole = batch_of(video, text).gathered()
    assert all(isinstance(x, Tensor) for x in whole.stored)
    assert torch.equal(whole.text, text.gathered())
    assert whole.to(torch.device("cpu")) is whole
    there = batch_of(video, text).to(torch.device("meta"))
    assert there.video.device.type == there.text.device.type == "meta"
    assert there.source is not None
    assert there.source.device.type == "cpu"
    with pytest.raises(TypeError, match="video"):
        Batch(video_mask=batch.video_mask)  # type: ignore[call-arg]
