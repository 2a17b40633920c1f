"""Settings: what is accepted, what is refused, and how the refusal helps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rdmf.config import Config, load_config, parse_overrides, presets, settings
from rdmf.store import InputError


def refusal(**overrides: object) -> str:
    with pytest.raises(InputError) as caught:
        Config().updated({name.replace("__", "."): value for name, value in overrides.items()})
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_full_and_short_names_mean_the_same() -> None:
    assert Config().updated({"train.lr": 0.01}) == Config().updated({"lr": 0.01})
    assert Config().updated({"lr": 0.01}).train.lr == 0.01


def test_updating_leaves_the_original_alone() -> None:
    config = Config()
    config.updated({"hidden": 64})
    assert config == Config()


def test_ambiguous_short_names_are_refused_with_the_candidates() -> None:
    message = refusal(heads=2)
    assert "fusion.heads" in message
    assert "decoder.heads" in message


def test_short_names_leave_the_published_models_alone() -> None:
    """Their sections repeat many of RDMF's names."""
    assert Config().updated({"queries": 40}) == Config().updated({"decoder.queries": 40})
    assert Config().updated({"span": 2.0}) == Config().updated({"loss.span": 2.0})
    message = refusal(margin=0.5)
    assert "moment_detr.margin" in message
    assert "qd_detr.margin" in message
    # A name that no other section has means the published model's.
    assert Config().updated({"clip_times": "centres"}).univtg.clip_times == "centres"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("train.lrr", "train.lr"),
        ("learning.lr", "train.lr"),
        ("hiden", "model.hidden"),
        ("fusion.stepsize", "fusion.step_size"),
        ("loss.salency", "loss.saliency"),
        ("train.epoch", "train.epochs"),
    ],
)
def test_an_unknown_name_gets_the_nearest_known_one(written: str, meant: str) -> None:
    message = refusal(**{written.replace(".", "__"): 1})
    assert f"'{written}'" in message
    assert f"'{meant}'" in message


def test_a_name_like_none_is_refused_without_a_guess() -> None:
    message = refusal(qqqqqqqq=1)
    assert "did you mean" not in message
    assert "--list" in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 1.5),
        ("epochs", "many"),
        ("epochs", True),
        ("epochs", float("inf")),
        ("epochs", float("nan")),
        ("epochs", 0),
        ("epochs", None),
        ("lr", "fast"),
        ("lr", -1e-3),
        ("lr", False),
        ("lr", float("nan")),
        ("lr", float("inf")),
        ("lr", [1, 2]),
        ("lr", {"a": 1}),
        ("position", "yes please"),
        ("position", 1),
        ("dropout", 0.99),
        ("limit", 0.51),
        ("kind", "transformer"),
        ("kind", 3),
        ("levels", "a,b"),
        ("levels", float("nan")),
        ("order", None),
    ],
)
def test_wrong_types_and_ranges_are_refused_by_name(name: str, value: object) -> None:
    full = next(k for k in settings() if k.split(".")[1] == name)
    assert refusal(**{name: value}).startswith(full)


def test_a_wrong_choice_gets_the_choices() -> None:
    message = refusal(kind="block")
    assert "did you mean 'blocks'" in message
    assert "cross-attention" in message


def test_sizes_that_do_not_go_together_are_refused() -> None:
    assert "fusion.heads=4" in refusal(hidden=18)
    assert "decoder.heads=5" in refusal(decoder__heads=5)
    assert "fusion.scales=3" in refusal(hidden=64, scales=3)
    assert "decoder.queries=10" in refusal(queries=10)


@pytest.mark.parametrize("name", ["moment-detr", "qd-detr", "cg-detr", "univtg"])
def test_sizes_bind_the_chosen_model_only(name: str) -> None:
    section = name.replace("-", "_")
    assert f"{section}.heads=8" in refusal(model__name=name, hidden=20)
    # What RDMF could not be built with is nothing to another model.
    config = Config().updated({"model.name": name, "hidden": 24, "fusion.heads": 5, "decoder.queries": 2})
    assert config.model.name == name
    with pytest.raises(InputError, match=r"fusion\.heads=5"):
        config.updated({"model.name": "rdmf"})


def test_an_unknown_model_gets_the_nearest() -> None:
    assert "did you mean 'qd-detr'" in refusal(model__name="qddetr")


def test_a_configuration_from_before_the_published_models_loads() -> None:
    values = Config().to_dict()
    for section in ("moment_detr", "qd_detr", "cg_detr", "univtg"):
        del values[section]
    del values["model"]["name"], values["train"]["decay"]
    assert Config.from_dict(values) == Config()


@pytest.mark.parametrize(
    ("text", "value"), [("1e-3", 0.001), ("1e-4", 0.0001), ("3E-4", 0.0003), ("0.5", 0.5), ("2", 2.0)]
)
def test_numbers_as_people_write_them(text: str, value: float) -> None:
    # YAML 1.1 reads 1e-3, which has no point, as a string.
    assert Config().updated(parse_overrides([f"train.lr={text}"])).train.lr == value


def test_other_values_from_the_command_line() -> None:
    assignments = ["epochs=7", "position=false", "fusion.kind=literal", "levels=[0, -0.5]", "val_split=val"]
    config = Config().updated(parse_overrides(assignments))
    assert config.train.epochs == 7
    assert config.model.position is False
    assert config.fusion.kind == "literal"
    assert config.decoder.levels == (0.0, -0.5)
    assert config.data.val_split == "val"
    assert Config().updated(parse_overrides(["levels=0.5"])).decoder.levels == (0.5,)
    assert Config().updated(parse_overrides(["val_split="])).data.val_split == ""


@pytest.mark.parametrize("item", ["lr", "=3", " =3", "lr=[1,"])
def test_assignments_that_are_none(item: str) -> None:
    with pytest.raises(InputError, match="--set"):
        parse_overrides([item])


def test_round_trip_through_json() -> None:
    config = Config().updated({"hidden": 64, "levels": [0, 1.5], "kind": "literal", "position": False, "lr": 1e-5})
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert Config.from_dict({}) == Config()
    assert Config.from_dict({"train": {"lr": 0.5}}).train.lr == 0.5


@pytest.mark.parametrize("values", [[], "text", 3, {"train": 5}, {"train": {"lr": {"deep": 1}}}, {"nothing": {"a": 1}}])
def test_what_is_no_configuration_is_refused(values: object) -> None:
    with pytest.raises(InputError):
        Config.from_dict(values)  # type: ignore[arg-type]


def test_every_setting_explains_itself() -> None:
    for name, f in settings().items():
        assert len(f.metadata["help"]) > 8, name
    assert len(settings()) == len(set(settings()))


def test_presets_are_there() -> None:
    assert "paper" in presets()


@pytest.mark.parametrize("name", presets())
def test_every_preset_loads_and_round_trips(name: str) -> None:
    config = load_config(name)
    assert Config.from_dict(config.to_dict()) == config


@pytest.mark.parametrize("name", ["moment-detr", "qd-detr", "cg-detr", "univtg"])
def test_a_published_models_preset_is_for_it(name: str) -> None:
    assert load_config(name).model.name == name


def test_the_paper_preset_says_what_the_paper_says() -> None:
    config = load_config("paper")
    assert (config.diffusion.steps, config.fusion.steps) == (10, 5)
    assert (config.fusion.d_video, config.fusion.d_text) == (0.2, 0.1)
    assert (config.fusion.feed, config.fusion.kill) == (0.04, 0.06)
    assert (config.decoder.queries, config.train.batch, config.train.epochs) == (100, 16, 50)
    assert config.fusion.kind == "literal"


def test_later_sources_win(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("train: {epochs: 3, batch: 2}\nhidden: 32\n")
    config = load_config("paper", file, {"batch": 5})
    assert (config.train.epochs, config.train.batch, config.model.hidden) == (3, 5, 32)
    assert config.fusion.kind == "literal"


def test_an_unknown_preset_gets_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'paper'"):
        load_config("papper")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"- 1\n- 2\n", "sections"),
        (b"train: {lr: [", "not readable"),
        (b"\xff\xfe\x00\x80", "not readable"),
        (b"train: {lrr: 1}", "train.lr"),
        (b"train: {lr: soon}", "train.lr"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_bytes(content)
    with pytest.raises(InputError, match=says):
        load_config(file=file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.yaml"):
        load_config(file=tmp_path / "nowhere.yaml")


def test_a_run_saved_before_a_part_of_the_model_does_without_it() -> None:
    values = Config().to_dict()
    del values["decoder"]["votes"], values["decoder"]["borders"], values["model"]["centred"]
    found = Config.of_run(values)
    assert (found.decoder.votes, found.decoder.borders, found.model.centred) == (0.0, False, False)
    assert Config.of_run(Config().to_dict()) == Config()
