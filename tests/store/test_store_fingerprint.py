"""The fingerprint names all that affects a feature and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdmf.store import InputError, Provenance, differing_fields, fingerprint

scalars = st.none() | st.booleans() | st.integers(-1000, 1000) | st.floats(-1e6, 1e6) | st.text(max_size=5)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)
streams = st.dictionaries(st.text(max_size=5), values, max_size=4)


def test_known_value() -> None:
    # A change here orphans every cache there is. Made with sha256sum from the bytes that features/README.md describes:
    # {"text":{"encoder":"bert"},"video":{"encoder":"swin","fps":2}}
    assert fingerprint(Provenance({"fps": 2.0, "encoder": "swin"}, {"encoder": "bert"})) == "ce11dc6987fc8dfd"


@given(streams, streams, streams, streams)
def test_equal_fingerprints_mean_no_differing_fields(a: dict, b: dict, c: dict, d: dict) -> None:  # type: ignore[type-arg]
    one, other = Provenance(a, b, {"host": 1}), Provenance(c, d, {"host": 2})
    assert (fingerprint(one) == fingerprint(other)) == (differing_fields(one, other) == [])


@given(streams, streams)
def test_order_of_settings_and_notes_do_not_count(video: dict, text: dict) -> None:  # type: ignore[type-arg]
    turned = dict(reversed(list(video.items())))
    assert fingerprint(Provenance(video, text, {"x": 1})) == fingerprint(Provenance(turned, text))


def test_numbers_are_compared_as_numbers() -> None:
    one = Provenance({"fps": 2, "mean": (0.5, 1.0)}, {})
    other = Provenance({"fps": np.float64(2.0), "mean": np.array([0.5, 1.0])}, {})
    assert fingerprint(one) == fingerprint(other)
    assert differing_fields(one, other) == []


def test_true_is_not_one() -> None:
    assert differing_fields(Provenance({"x": True}, {}), Provenance({"x": 1}, {})) == ["video.x: true here, 1 there"]


def test_differences_are_named() -> None:
    one = Provenance({"fps": 2.0, "crop": {"size": 224}, "name": "a"}, {"max_tokens": 32})
    other = Provenance({"fps": 4.0, "crop": {"size": 192}, "name": "a"}, {"max_tokens": 32, "layer": -1})
    assert differing_fields(one, other) == [
        "video.fps: 2.0 here, 4.0 there",
        "video.crop.size: 224 here, 192 there",
        "text.layer: absent here, -1 there",
    ]


def test_a_precision_that_is_not_recorded_is_said_to_be_float32() -> None:
    one, other = Provenance({"precision": "bfloat16"}, {}), Provenance({}, {})
    assert differing_fields(one, other) == ["video.precision: bfloat16 here, absent (float32) there"]


def test_long_values_are_cut() -> None:
    (line,) = differing_fields(Provenance({"weights": "a" * 500}, {}), Provenance({}, {}))
    assert len(line) < 120


@pytest.mark.parametrize("value", [float("nan"), float("inf"), Path("x"), {1: 2}, [object()]])
def test_what_json_cannot_hold_is_refused(value: object) -> None:
    with pytest.raises(InputError, match=r"provenance field video\.odd"):
        fingerprint(Provenance({"odd": value}, {}))
