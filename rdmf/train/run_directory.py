"""The run directory: refused where it is another run's, claimed, filled epoch by epoch, closed with a summary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from rdmf.config import Config
from rdmf.files import read_json, write_atomically
from rdmf.run import load_run
from rdmf.store import InputError
from rdmf.train.checkpoint import save_weights, write_json
from rdmf.train.curves import draw_curves
from rdmf.train.data import Split
from rdmf.train.state import State


def refuse_other_run(out: Path, saved: dict[str, Any], resume: bool) -> None:
    """Refuse to overwrite another run, or to resume one made otherwise.

    Args:
        saved: what config.json is to say.

    Raises:
        InputError: with what differs.
    """
    existing = out / "config.json"
    if resume and existing.is_file():
        old = read_json(existing)
        if not isinstance(old, dict):
            raise InputError(f"{existing}: damaged, cannot resume from it; choose another --out")
        if isinstance(old.get("config"), dict):
            # A run of an older rdmf lacks the settings that came since; it was made with their defaults.
            old["config"] = Config.of_run(old["config"], where=str(existing)).to_dict()
        for key in ("config", "seed", "fingerprint", "video_dim", "text_dim"):
            if old.get(key) != saved[key]:
                what = _first_difference(old.get(key), saved[key], key)
                raise InputError(f"cannot resume {out}: {what}; resume with the settings it was started with")
        if old.get("content", saved["content"]) != saved["content"]:
            raise InputError(
                f"cannot resume {out}: {saved['features']} holds other videos or queries than what it was started on "
                f"({old.get('features')}); choose another --out"
            )
    elif not resume and existing.exists():
        raise InputError(f"{out} already holds a run; go on with --resume, or choose another --out")


def finished(out: Path) -> bool:
    """Whether a run is over and only what could go on with it was thrown away (`rdmf ablate --keep best`)."""
    there = all((out / name).is_file() for name in ("config.json", "summary.json", "best.safetensors"))
    return there and not (out / "resume.pt").is_file()


def claim(out: Path, saved: dict[str, Any]) -> None:
    """Make the run directory, once everything else is known to be usable; sweep up what a killed run was writing."""
    try:
        write_json(out / "config.json", saved)
        for partial in out.glob(".*.partial"):
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"cannot write the run directory {out}: {error.strerror}") from None


def _first_difference(old: Any, new: Any, name: str) -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                return _first_difference(old.get(key), new.get(key), f"{name}.{key}")
    return f"{name} was {old!r}, now {new!r}"


def write_epoch(state: State, out: Path, *, better: bool) -> None:
    """What an epoch leaves: weights, state and history."""
    # One entry only: safetensors writes several in random order, and equal weights shall be equal files.
    about = {"epoch": str(state.epoch)}
    save_weights(out / "last.safetensors", state.weights(), about)
    if better:
        save_weights(out / "best.safetensors", state.weights(), about)
    state.save(out / "resume.pt")
    write_history(out, state.history)


def write_history(out: Path, history: list[dict[str, Any]]) -> None:
    """metrics.jsonl: a line an epoch."""
    text = "".join(json.dumps(h) + "\n" for h in history)
    write_atomically(out / "metrics.jsonl", lambda p: p.write_text(text, encoding="utf-8"))


def summarise(state: State, config: Config, out: Path, seed: int, data: Split, held: Split | None) -> None:
    """summary.json and curves.png, once training is over.

    Raises:
        InputError: what was written does not read back.
    """
    best = next((h for h in state.history if h["epoch"] == state.best_epoch), None)
    write_json(
        out / "summary.json",
        {
            "epochs": state.epoch,
            "best_epoch": state.best_epoch,
            "holdout": (best or {}).get("scores", {}),
            "monitor": config.train.monitor if held else "last epoch",
            "train_queries": len(data),
            "holdout_queries": len(held) if held else 0,
            "seconds": round(state.seconds, 1),
            "samples_per_second": float(np.median([h["samples_per_second"] for h in state.history]))
            if state.history
            else 0.0,
            "seed": seed,
        },
    )
    if state.history:
        draw_curves(state.history, out / "curves.png")
        load_run(out)  # what was written must read back before it is called done
