"""The ablation tables: every row can be trained, no two rows of a table are the same."""

from __future__ import annotations

import json

import pytest

from rdmf.config import load_config, settings
from rdmf.store import InputError
from rdmf_pipelines.presets import dataset_of, preset_for
from rdmf_pipelines.studies.tables import TABLES, Table, find_table

EVERY = [pytest.param(table, id=name) for name, table in TABLES.items()]


@pytest.mark.parametrize("table", EVERY)
def test_every_row_is_a_configuration_of_its_own(table: Table) -> None:
    labels = [row.label for row in table.rows]
    assert len(set(labels)) == len(labels) == len({row.slug for row in table.rows})
    assert table.reference in labels
    configs = set()
    for row in table.rows:
        assert set(row.settings) <= set(settings())  # full names: they must not depend on what is ambiguous
        preset = row.preset or preset_for(None, row.model)
        config = load_config(preset, None, {**row.settings, "model.name": row.model})
        for name, value in row.settings.items():
            section, _, key = name.partition(".")
            assert getattr(getattr(config, section), key) == value
        # A part is on in some presets and off in others: of "with" and "without" it one is the preset itself.
        model = load_config(preset, None, {}).model
        if row.settings not in ({"model.centred": model.centred}, {"model.cuts": model.cuts}):
            configs.add(json.dumps(config.to_dict(), sort_keys=True))
        assert (row.x is not None) == bool(table.axis)
    assert len(configs) == len(table.rows) - 2 * (table.name == "components")


def test_the_papers_values_are_the_defaults_where_a_sweep_has_its_reference() -> None:
    """The full model is one row of every sweep, so that its runs can be shared."""
    default = load_config().to_dict()
    for name in ("diffusion-coefficients", "diffusion-steps", "kinetics", "rd-steps", "roles", "components"):
        table = TABLES[name]
        (row,) = (row for row in table.rows if row.label == table.reference)
        assert load_config(None, None, row.settings).to_dict() == default


def test_some_rows_of_a_table() -> None:
    table = find_table("components").chosen(["without-iou-head", "full"])
    assert [row.label for row in table.rows] == ["full", "without IoU head"]
    assert table.reference == "full"
    assert find_table("components").chosen(["without IoU head"]).reference == "without IoU head"
    with pytest.raises(InputError, match="no row 'ful'; it has: full, "):
        find_table("components").chosen(["ful"])


def test_an_unknown_table_gets_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'components'"):
        find_table("component")


def test_a_fold_takes_the_preset_of_its_dataset() -> None:
    assert dataset_of({"dataset": "salads50-fold3"}) == "salads50"
    assert dataset_of({"recipe": "charades", "dataset": "mine"}) == "charades"
    assert dataset_of({"dataset": "saladsfifty"}) is None
    assert dataset_of({}) is None
    assert preset_for("salads50", "rdmf") == "salads50"
    assert preset_for("no such dataset", "rdmf") is None
    assert preset_for("no such dataset", "univtg") == "univtg"
