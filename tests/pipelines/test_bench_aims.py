"""Whether an aim is reached is read off the figures, and nothing is said of what was not measured."""

from __future__ import annotations

import pytest

from rdmf_pipelines.benching.aims import reached
from rdmf_pipelines.benching.sheet import Entry, Sheet


def one(group: str, case: str, name: str, seconds: float, against: str = "", **more: float) -> Entry:
    return Entry(group, case, name, seconds, seconds, seconds, 5, against, more)


def said(*entries: Entry, **machine: object) -> str:
    return " ".join(text for every in reached(Sheet("", dict(machine), list(entries))).values() for text in every)


def reaction(ratio: float, case: str = "4 x 2000 x 256") -> list[Entry]:
    group = "reaction, split integrator, forward"
    return [one(group, case, "plain loop", ratio), one(group, case, "kernel", 1.0, "plain loop")]


def test_nothing_measured_nothing_said() -> None:
    assert reached(Sheet("", {})) == {}


@pytest.mark.parametrize(("ratio", "word"), [(4.0, "**Reached**"), (3.9, "**Not reached**")])
def test_the_kernel(ratio: float, word: str) -> None:
    assert word in said(*reaction(9.0, "1 x 75 x 256"), *reaction(ratio))


def test_how_often_the_kernel_is_the_fastest() -> None:
    group = "diffusion, forward"
    told = said(
        *(one(group, "a", name, seconds) for name, seconds in (("kernel", 1.0), ("FFT", 2.0))),
        *(one(group, "b", name, seconds) for name, seconds in (("kernel", 1.0), ("FFT", 0.9))),
    )
    assert "at 1 of 2 sizes; faster are FFT at b." in told


def test_other_widths_and_gpus_are_not_meant() -> None:
    assert said(*reaction(1.0, "16 x 165 x 64")) == ""
    assert said(*reaction(1.0), device="some GPU") == ""


def test_tiny_sizes_say_nothing() -> None:
    assert said(*reaction(9.0), sizes="tiny") == ""


@pytest.mark.parametrize(("share", "word"), [(1.3, "**Reached**"), (1.4, "**Not reached**")])
def test_the_traffic(share: float, word: str) -> None:
    entries = [Entry("diffusion, forward", "c", "kernel", 1, 1, 1, 5, "", {"times the least traffic": share})]
    assert word in said(*entries)


@pytest.mark.parametrize(("data", "word"), [(0.009, "**Reached**"), (0.02, "**Not reached**")])
def test_the_data(data: float, word: str) -> None:
    group = "training step"
    assert word in said(one(group, "rdmf", "step", 1.0), one(group, "rdmf", "data", data))


def beside(group: str, case: str, **more: float) -> Entry:
    fields = {
        {"a": "of a's loop", "b": "of b's loop", "both": "of a's loop on two threads"}[k]: v for k, v in more.items()
    }
    return Entry(group, case, {"training step": "step"}.get(group, "an epoch"), 1, 1, 1, 5, "", fields)


def test_one_core_beside_published_loops_is_told_but_not_judged() -> None:
    ours = [beside("training step", "rdmf, 100", a=1.0, b=2.0), beside("training step", "rdmf, 16", a=2.9, b=3.1)]
    told = said(*ours, beside("training step", "a", a=50.0, b=50.0))
    assert "rdmf, 16 has 2.9 times those of a's loop; rdmf, 16 has 3.1 times those of b's loop." in told
    assert "eached" not in told


@pytest.mark.parametrize(("least", "word"), [(3.0, "**Reached**"), (2.9, "**Not reached**")])
def test_each_published_loop_beside_two_cores(least: float, word: str) -> None:
    group = "training in two processes"
    told = said(
        beside(group, "rdmf, one process", a=2.0, b=3.1, both=1.1),
        beside(group, "rdmf, two processes", a=least, b=6.0, both=1.5),
    )
    assert word in told
    assert f"rdmf, two processes has {least:.1f} times those of a's loop; rdmf, two processes has 6.0" in told
    assert "on two cores too: rdmf, two processes has 1.5 times those of a's loop on two threads." in told


def test_the_paper() -> None:
    entry = Entry("the paper's schedule", "rdmf", "an epoch", 1, 1, 1, 2, "", {"50 epochs of 7,218 queries, s": 100.0})
    assert "**Reached**" in said(entry, device="NVIDIA H200")
    assert "**Not measured on one**" in said(entry)


@pytest.mark.parametrize(("power", "word"), [(1.0, "**Reached**"), (2.0, "**Not reached**")])
def test_the_length(power: float, word: str) -> None:
    group = "prediction over length"
    entries = [Entry(group, f"{n:,} clips", "rdmf", n**power, 0, 0, 3, "", {"peak MB": n}) for n in (75, 10800, 20000)]
    told = said(*entries)
    assert word in told
    assert "10,800 MB" in told
