"""Figures of a sheet as short text, the same on the terminal and on a page."""

from __future__ import annotations

from rdmf_pipelines.benching.sheet import Entry, Sheet


def duration(seconds: float) -> str:
    """Three digits and the unit that suits: "18.5 ms"."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= 0.9995 * size:
            return f"{number(seconds / size)} {unit}"
    return f"{number(seconds / 1e-9)} ns"


def number(value: float) -> str:
    """Three digits, or all before the point: "0.0312", "18.5", "20,480"."""
    if value == 0:
        return "0"
    if abs(value) >= 99.95:
        return f"{value:,.0f}"
    digits = f"{value:.3g}"
    return digits if "e" not in digits else f"{value:.6f}"


def spread(one: Entry) -> str:
    """Half the distance between the quartiles in percent of the median; "" where it was measured once."""
    return f"±{100 * one.spread:.0f}%" if one.count > 1 else ""


def times(ratio: float | None) -> str:
    """How many times as fast; "" where that means nothing."""
    return "" if ratio is None else f"{ratio:.{2 if ratio < 2 else 1 if ratio < 100 else 0}f}x"


def machine_line(sheet: Sheet) -> str:
    """What a sheet was measured on, in one line."""
    about = dict(sheet.machine)
    parts = [str(about.pop("processor", "unknown processor"))]
    if "device" in about:
        parts.append(str(about.pop("device")))
    if "cores" in about:
        parts.append(f"{about.pop('cores')} cores")
    threads = about.pop("threads", None)
    if threads is not None:
        parts.append("one thread" if threads == 1 else f"{threads} threads")
    date, load = about.pop("date", ""), about.pop("load", None)
    parts += [f"{name} {value}" for name, value in about.items() if value is not None]
    if load is not None:
        parts.append(f"load {load} at the start")
    return ", ".join([*parts, date] if date else parts)
