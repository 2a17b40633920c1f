"""A plan of two small studies, and a folder with all that it needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from rdmf_pipelines.studies.page import BEGIN, END

SETTINGS = {"model.hidden": 16, "train.epochs": 1, "train.device": "cpu"}
README = f"# Mine\n\nbefore\n\n{BEGIN}\nold\n{END}\n\nafter\n"


def write_plan(place: Path, **changes: object) -> Path:
    study = {"title": "Made up", "set": SETTINGS, "seeds": 1}
    models = {**study, "out": "all/models", "features": ["fold1.h5", "fold2.h5"], "table": "models", "headline": True}
    steps = {**study, "out": "all/steps", "features": ["fold1.h5"], "table": "rd-steps", "rows": ["n-1", "n-5"]}
    plan = {
        "files": {"all/rule.json": "python make_rule.py"},
        "studies": [{**models, "rows": ["rdmf", "qd-detr"]}, steps],
        "rules": ["all/rule.json"],
        "notes": "notes.md",
        "out": "docs/results.md",
        "readme": "README.md",
        **changes,
    }
    path = place / "plan.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in plan.items() if value is not None}))
    return path


def furnish(place: Path, caches: Path) -> None:
    """A folder with two caches, a README, notes, and a script that scores a rule."""
    for path in caches.iterdir():
        (place / path.name).symlink_to(path)
    (place / "README.md").write_text(README)
    (place / "notes.md").write_text("## What did not help\n\nWishing | hoping <b>hard</b>.\n")
    rule: dict[str, Any] = {"label": "rule", "about": "a coin", "command": "python make_rule.py", "folds": {}}
    for i in (1, 2):
        qids = [f"{i}-{q}" for q in range(8, 16)]
        rule["folds"][f"fold{i}"] = {"qid": qids, "metrics": {name: [0.9] * 8 for name in ("R1@0.5", "mIoU")}}
    (place / "all").mkdir()
    script = f"from pathlib import Path\nPath('all/rule.json').write_text({json.dumps(rule)!r})\n"
    (place / "make_rule.py").write_text(script)
