"""Pictures: the frames shown are those on screen at their times, and the bars lie where the moments are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rdmf.store import InputError
from rdmf_pipelines import plots, thumbnails
from rdmf_pipelines.thumbnails import Strip, film_strip

FPS = 10


def write_ramp(path: Path, seconds: float, *, height: int = 48, width: int = 64) -> Path:
    """A video whose grey level tells the time: 40 at the start, 40 + 180 at the end."""
    import av

    count = round(seconds * FPS)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "ultrafast", "crf": "10", "g": "15"}
        for i in range(count):
            picture = np.full((height, width, 3), round(40 + 180 * i / count), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def grey_levels(strip: Strip) -> list[float]:
    return [float(image.mean()) for image in strip.images if image is not None]


@pytest.mark.parametrize("seek_beyond", [0.0, 1e9], ids=["sought", "read through"])
def test_each_picture_is_the_frame_at_the_centre_of_its_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seek_beyond: float
) -> None:
    monkeypatch.setattr(thumbnails, "SEEK_BEYOND_SECONDS", seek_beyond)
    strip = film_strip(write_ramp(tmp_path / "v.mp4", 8.0), 8.0, strip_aspect=8.0, height=24)
    assert len(strip.images) == 6  # 8 / (64 / 48)
    assert {image.shape for image in strip.images if image is not None} == {(24, 32, 3)}
    expected = [40 + 180 * (i + 0.5) / 6 for i in range(6)]
    assert grey_levels(strip) == pytest.approx(expected, abs=4)


def test_a_video_shorter_than_said_repeats_its_last_frame(tmp_path: Path) -> None:
    strip = film_strip(write_ramp(tmp_path / "v.mp4", 2.0), 20.0, strip_aspect=8.0)
    assert grey_levels(strip)[1:] == pytest.approx([220] * 5, abs=15)


def test_no_video_is_refused_in_one_line(tmp_path: Path) -> None:
    for name, content in {"empty.mp4": b"", "words.mp4": b"no video at all" * 50}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=name):
            film_strip(tmp_path / name, 5.0)
    with pytest.raises(InputError, match=r"gone\.mp4"):
        film_strip(tmp_path / "gone.mp4", 5.0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (75.5, "1:15.5"), (59.96, "1:00"), (3725, "1:02:05"), (7.04, "0:07")],
)
def test_clock(seconds: float, text: str) -> None:
    assert plots.clock(seconds) == text


@pytest.mark.parametrize("duration", [0.03, 0.1, 0.2, 0.9, 2.0, 9.0, 28.0, 10_800.0])
def test_ticks_of_any_video_differ_from_each_other(duration: float) -> None:
    figure = plots.moments_figure(
        title="a dog", duration=duration, times=[[0, duration]], saliency=[0.5], predicted=[(0, duration, 1)]
    )
    figure.canvas.draw()
    labels = [label.get_text() for label in figure.axes[-1].get_xticklabels()]
    assert len(labels) > 2
    assert len(set(labels)) == len(labels)


def test_clock_keeps_tenths_where_asked() -> None:
    assert plots.clock(7, fixed=True) == "0:07.0"


def test_bars_lie_where_the_moments_are_and_all_panels_share_the_time() -> None:
    strip = Strip((np.zeros((8, 8, 3), np.uint8), None), 40.0)
    figure = plots.moments_figure(
        title="a dog",
        duration=40.0,
        times=[[0, 20], [20, 40]],
        saliency=[0.2, 0.9],
        predicted=[[18, 39, 0.8], [1, 4, 0.3], [2, 3, 0.1], [5, 6, 0.1]],
        truth=[[20, 38]],
        strip=strip,
        shown=3,
    )
    frames, curve, lanes = figure.axes
    assert {axis.get_xlim() for axis in (frames, curve, lanes)} == {(0, 40)}
    assert len(frames.images) == 1  # the part without a frame stays empty
    bars = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in lanes.patches]
    assert bars == [(20, 38), (18, 39), (1, 4), (2, 3)]
    assert [label.get_text() for label in lanes.get_yticklabels()] == ["true", "found 1", "found 2", "found 3"]
    assert [text.get_text() for text in lanes.texts] == ["0.80", "0.30", "0.10"]


def test_a_picture_without_moments_frames_or_truth_is_still_drawn(tmp_path: Path) -> None:
    figure = plots.moments_figure(
        title="the $5 and the $ { 犬 " + "word " * 500,
        duration=3.0,
        times=[[0, 3]],
        saliency=[0.0],
        predicted=[],
        truth=None,
    )
    assert "no moment found" in [text.get_text() for text in figure.axes[-1].texts]
    assert plots.save(figure, tmp_path / "deep" / "p.png").read_bytes().startswith(b"\x89PNG")


def test_save_refuses_endings_that_are_no_pictures(tmp_path: Path) -> None:
    figure = plots.moments_figure(title="t", duration=1.0, times=[[0, 1]], saliency=[0.5], predicted=[])
    with pytest.raises(InputError, match=r"'\.docx'"):
        plots.save(figure, tmp_path / "p.docx")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        plots.save(figure, tmp_path / "file" / "p.png")
