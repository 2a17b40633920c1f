"""The card of a shared cache: what it is, how it was made, what is missing, who may use it, how to use it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rdmf.store import describe
from rdmf_pipelines.sharing.bundle import CHECKSUMS, Bundle

_MOST_LISTED = 50
_IDENTIFIER = re.compile(r"[a-z0-9][a-z0-9.+-]*")  # how hubs name licences: cc-by-4.0, apache-2.0
_SETTINGS = ("encoder", "weights", "random_weights", "fps", "window", "stride", "frames_per_window", "resize", "crop")


def card(cache: Path, bundle: Bundle, *, target: str, licence: str | None) -> str:
    """The card as Markdown with YAML front matter.

    Args:
        cache: the cache here.
        target: where it is shared, as `rdmf features pull` takes it.
        licence: an identifier (cc-by-4.0) or words of one's own; None: nobody said.
    """
    import yaml

    facts = describe(cache)
    dataset = facts["notes"].get("dataset")
    title = cache.stem if dataset in (None, "", "manifest") else str(dataset)
    front = {
        **_licence(licence),
        "pretty_name": f"{title}: video features",
        "tags": ["rdmf", "video-features", "moment-retrieval", "highlight-detection"],
    }
    parts = f" and its {len(bundle.files) - 1:,} parts" if len(bundle.files) > 1 else ""
    sections = [
        f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---",
        f"# {title}: video features for moment retrieval",
        f"One rdmf feature cache, `{bundle.cache}`{parts}: all that training and evaluation need.",
        "## Use",
        f"```sh\nrdmf features pull {target} --out features/{bundle.cache}\n"
        f"rdmf train --features features/{bundle.cache}\n```",
        f"`pull` checks every byte. Without rdmf, `sha256sum -c {CHECKSUMS}` does; the files are plain HDF5.",
        "## What is in it",
        "\n".join(_table(["", ""], _contents(facts, bundle))),
        *_lists("Not in it", _missing(facts)),
        "## Licence",
        "\n\n".join(_rights(facts, licence)),
        "## How it was made",
        f"By {facts['writer']}, {facts['created']}. These are all settings that affect a feature; the fingerprint "
        f"`{bundle.fingerprint}` stands for them.",
        f"```json\n{json.dumps(facts['provenance'], indent=1, ensure_ascii=False)}\n```",
        "## Checksums",
        "\n".join(_checksums(bundle)),
    ]
    return "\n\n".join(sections) + "\n"


def _licence(licence: str | None) -> dict[str, str]:
    if licence is None:
        return {"license": "unknown"}
    if _IDENTIFIER.fullmatch(licence):
        return {"license": licence}
    return {"license": "other", "license_name": re.sub(r"[^a-z0-9]+", "-", licence.lower()).strip("-")[:60] or "other"}


def _rights(facts: dict[str, Any], licence: str | None) -> Iterator[str]:
    yield f"Features: {licence}." if licence else "Features: whoever shared them did not say under which licence."
    noted = facts["notes"].get("licence")
    if noted:
        yield f"What the cache itself notes: {noted}"
    yield "The videos, the annotations and the encoders' weights have licences of their own."


def _contents(facts: dict[str, Any], bundle: Bundle) -> Iterator[tuple[str, str]]:
    video, text, queries = facts["video"], facts["text"], facts["queries"]
    asked = video["videos"] + len(_absent(facts))
    yield "videos", f"{video['videos']:,} of {asked:,}"
    yield "video features", f"{video['rows']:,} rows x {video['dim']} {facts['feature_dtype']}"
    yield "hours", f"{video['seconds'] / 3600:,.2f}"
    if video["step_seconds"] is not None:
        yield "timeline", f"a row every {video['step_seconds']:.3f} s (median)"
    if video["window_seconds"] is not None:
        yield "window", f"{video['window_seconds']:.3f} s (median)"
    for stream in ("video", "text"):
        settings = facts["provenance"][stream]
        shown = ", ".join(f"{key} {settings[key]}" for key in _SETTINGS if key in settings)
        yield f"{stream} encoder", shown or "not recorded"
    yield "sentences", f"{text['sentences']:,}, {text['tokens']:,} tokens x {text['dim']}"
    splits = ", ".join(f"{name} {split['queries']:,}" for name, split in queries["splits"].items())
    yield "queries", f"{queries['queries']:,}" + (f" ({splits})" if splits else "")
    yield "size", f"{bundle.n_bytes / 1e6:,.1f} MB"
    yield "fingerprint", f"`{bundle.fingerprint}`"


def _absent(facts: dict[str, Any]) -> dict[str, str]:
    """Videos that are asked about or failed and have no features, with the reason where it is known."""
    reasons = {failure["vid"]: failure["reason"] for failure in facts["failures"]}
    return {**dict.fromkeys(facts["missing_videos"], "no features"), **reasons}


def _missing(facts: dict[str, Any]) -> list[str]:
    return [f"- `{_cell(vid)}`: {_cell(reason)}" for vid, reason in _absent(facts).items()]


def _lists(heading: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield f"## {heading}"
        more = [f"- ... and {len(lines) - _MOST_LISTED:,} more; `rdmf features info --json` lists all"]
        yield "\n".join([*lines[:_MOST_LISTED], *(more if len(lines) > _MOST_LISTED else [])])


def _checksums(bundle: Bundle) -> Iterator[str]:
    shown = bundle.files[-_MOST_LISTED:]
    yield from _table(
        ["file", "bytes", "sha256"], [(f"`{_cell(f.path)}`", f"{f.bytes:,}", f"`{f.sha256}`") for f in shown]
    )
    if len(shown) < len(bundle.files):
        yield f"\nand {len(bundle.files) - len(shown):,} more in `{CHECKSUMS}`."


def _table(head: Sequence[str], rows: Iterator[Sequence[str]] | Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _cell(text: str) -> str:
    """Text that cannot break out of a table, a list or a piece of code."""
    return " ".join(text.replace("|", "/").replace("`", "'").split())
