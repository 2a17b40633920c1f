"""What this code sets itself in speed, and whether a sheet's own numbers reach it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rdmf_pipelines.benching.sheet import Entry, Sheet
from rdmf_pipelines.benching.wording import duration, number

#: The kernel is to be so many times as fast as the plain loop on a CPU for N = 5, d = 256 and L from 75 to 2000 ...
KERNEL_TIMES = 4.0
#: ... and on a GPU to take no longer than so many times its least traffic.
TRAFFIC_TIMES = 1.3
#: Samples a second, as a multiple of each published model's own loop.
PUBLISHED_TIMES = 3.0
#: Share of a training step that getting its data may take.
DATA_SHARE = 0.01
#: The paper's schedule on one H200, seconds.
PAPER_SECONDS = 120.0
#: Linear: seconds as a power of the number of clips, with room for the noise of measuring; and memory a clip that does
#: not grow.
POWER = 1.15
#: What `--quick` says of itself in a sheet's machine: nothing measured with it says how fast anything is.
TINY_SIZES = "sizes"


def reached(sheet: Sheet) -> dict[str, list[str]]:
    """{group: sentences}, each saying an aim and whether the numbers reach it; nothing of what was not measured."""
    found: dict[str, list[str]] = {}
    if TINY_SIZES in sheet.machine:
        return found
    for judge in (_fastest, _kernels, _traffic, _data, _published, _paper, _length):
        for group, said in judge(sheet).items():
            found.setdefault(group, []).extend(said)
    return found


def _said(aim: str, *, good: bool, told: str) -> str:
    return f"Aim: {aim}. **{'Reached' if good else 'Not reached'}**: {told}."


def _of(sheet: Sheet, test: Callable[[Entry], bool]) -> dict[str, list[Entry]]:
    """{group: entries that were measured and pass a test}."""
    found: dict[str, list[Entry]] = {}
    for one in sheet.entries:
        if one.count and test(one):
            found.setdefault(one.group, []).append(one)
    return found


def _fastest(sheet: Sheet) -> dict[str, list[str]]:
    """No aim, but the reason for which `diffuse` takes the kernel."""
    out = {}
    for group in sheet.groups():
        by_case: dict[str, dict[str, float]] = {}
        for one in sheet.entries:
            if one.group == group and one.count and group.startswith("diffusion"):
                by_case.setdefault(one.case, {})[one.name] = one.seconds
        raced = {case: ways for case, ways in by_case.items() if "kernel" in ways}
        if raced:
            lost = {case: min(ways, key=lambda w: ways[w]) for case, ways in raced.items()}
            lost = {case: best for case, best in lost.items() if best != "kernel"}
            but = ", ".join(f"{best} at {case}" for case, best in lost.items())
            out[group] = [
                f"The kernel is the fastest of all ways at {len(raced) - len(lost)} of {len(raced)} sizes"
                f"{f'; faster are {but}' if lost else ''}."
            ]
    return out


def _kernels(sheet: Sheet) -> dict[str, list[str]]:
    def counts(one: Entry) -> bool:
        if one.name != "kernel" or not one.group.startswith("reaction, split"):
            return False
        sizes = [int(word) for word in one.case.split(" x ")]
        return sizes[2] == 256 and 75 <= sizes[1] <= 2000

    if "device" in sheet.machine:
        return {}
    out = {}
    for group, entries in _of(sheet, counts).items():
        ratios = {e.case: sheet.times_as_fast(e) or 0.0 for e in entries}
        out[group] = [
            _said(
                f"at least {KERNEL_TIMES:.0f} times as fast as the plain loop for N = 5, d = 256, L = 75 to 2000",
                good=min(ratios.values()) >= KERNEL_TIMES,
                told=_range(ratios, "times as fast"),
            )
        ]
    return out


def _range(values: Mapping[str, float], what: str) -> str:
    """ "6.7 (1 x 75 x 256) to 23 (4 x 2000 x 256) times as fast" """
    low, high = min(values, key=lambda k: values[k]), max(values, key=lambda k: values[k])
    if low == high:
        return f"{number(values[low])} {what} ({low})"
    return f"{number(values[low])} ({low}) to {number(values[high])} ({high}) {what}"


def _traffic(sheet: Sheet) -> dict[str, list[str]]:
    field = "times the least traffic"
    out = {}
    for group, entries in _of(sheet, lambda e: field in e.more).items():
        several = len({e.name for e in entries}) > 1
        shares = {f"{e.name}, {e.case}" if several else e.case: e.more[field] for e in entries}
        aim = f"at most {TRAFFIC_TIMES} times as long as copying the fewest bytes that must be moved"
        out[group] = [_said(aim, good=max(shares.values()) <= TRAFFIC_TIMES, told=_range(shares, "times"))]
    return out


def _steps(sheet: Sheet) -> dict[str, list[Entry]]:
    return _of(sheet, lambda e: e.group == "training step" and e.name == "step")


def _data(sheet: Sheet) -> dict[str, list[str]]:
    out = {}
    for group, entries in _steps(sheet).items():
        shares = {}
        for step in entries:
            data = sheet.find(group, step.case, "data")
            if data is not None and step.seconds > 0:
                shares[step.case] = 100 * data.seconds / step.seconds
        if shares:
            good = max(shares.values()) < 100 * DATA_SHARE
            aim = f"data under {100 * DATA_SHARE:.0f}% of the step"
            out[group] = [_said(aim, good=good, told=_range(shares, "percent"))]
    return out


def _published(sheet: Sheet) -> dict[str, list[str]]:
    """Each published loop by itself, with RDMF as it is best; judged where both cores were at work."""
    out: dict[str, list[str]] = {}
    for group, entries in _steps(sheet).items():
        told, _ = _beside_loops(entries)
        if told:
            out[group] = [f"On one core, samples a second: {told}."]
    for group, entries in _of(sheet, lambda e: e.group == "training in two processes").items():
        told, least = _beside_loops(entries)
        if not told:
            continue
        aim = f"on two cores {PUBLISHED_TIMES:.0f} times the samples a second of each published model's own loop on one"
        out[group] = [_said(aim, good=least >= PUBLISHED_TIMES, told=told)]
        both, _ = _beside_loops(entries, ending="'s loop on two threads")
        if both:
            out[group].append(f"Where those loops were run on two cores too: {both}.")
    return out


def _beside_loops(entries: Sequence[Entry], ending: str = "'s loop") -> tuple[str, float]:
    """RDMF's best figure beside each loop in words, and the least of them; "" where no loop's is known."""
    ours = [e for e in entries if e.case.startswith("rdmf")]
    loops = dict.fromkeys(field for e in ours for field in e.more if field.endswith(ending))
    best = {loop: max(ours, key=lambda e: e.more.get(loop, 0.0)) for loop in loops}
    told = [f"{one.case} has {one.more[loop]:.1f} times those {loop}" for loop, one in best.items()]
    return "; ".join(told), min((one.more[loop] for loop, one in best.items()), default=0.0)


def _paper(sheet: Sheet) -> dict[str, list[str]]:
    out = {}
    for group, entries in _of(sheet, lambda e: e.group == "the paper's schedule").items():
        field = next((f for f in entries[0].more if f.startswith("50 epochs")), None)
        if field is None:
            continue
        seconds = entries[0].more[field]
        device = str(sheet.machine.get("device", ""))
        if "H200" in device:
            good = seconds < PAPER_SECONDS
            told = duration(seconds)
            out[group] = [_said(f"under {PAPER_SECONDS:.0f} s on one H200", good=good, told=told)]
        else:
            told = f"here it would take {seconds / 3600:.1f} hours" if seconds > 3600 else f"here: {duration(seconds)}"
            out[group] = [f"Aim: under {PAPER_SECONDS:.0f} s on one H200. **Not measured on one**; {told}."]
    return out


def _length(sheet: Sheet) -> dict[str, list[str]]:
    from rdmf_pipelines.benching.lengths import GROUP, MEMORY, THREE_HOURS, exponent, points

    have = points(sheet).get("rdmf", [])
    power = exponent(have)
    if power is None or have[-1][0] < THREE_HOURS:
        return {}
    told = f"over the longest its seconds grow as L to the {power:.2f}"
    said = [_said("RDMF's cost is linear in L", good=power <= POWER, told=told)]
    three = next((one for length, one in have if length == THREE_HOURS), None)
    if three is not None and MEMORY in three.more:
        said.append(
            f"A three-hour video at a clip a second takes RDMF {duration(three.seconds)} and "
            f"{number(three.more[MEMORY])} MB beside its features."
        )
    return {GROUP: said}
