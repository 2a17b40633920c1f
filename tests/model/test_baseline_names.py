"""Authors' parameter names to ours: all of them or none, and what does not fit is named."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rdmf.baselines import names
from rdmf.baselines.names import NAMES, Names, load_authors, rename
from rdmf.store import InputError


class Two(nn.Module):
    """A network with a stacked parameter split in two, and a plain one."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(3, 2, bias=False), nn.Linear(3, 2, bias=False)
        self.scale = nn.Parameter(torch.zeros(4))


RULES = Names(
    rules=((r"both\.weight", ("left.weight", "right.weight")), (r"(scale|gain)", "scale")), unused={"old": "-"}
)


@pytest.fixture(autouse=True)
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(names.NAMES, "two", RULES)


def theirs(**more: Tensor) -> dict[str, Tensor]:
    return {"both.weight": torch.arange(12.0).view(4, 3), "scale": torch.ones(4), **more}


@pytest.mark.parametrize("prefix", ["", "module."])
def test_parts_are_cut_in_order_and_unused_ones_are_left(prefix: str) -> None:
    network = Two()
    load_authors(network, {prefix + name: value for name, value in theirs(old=torch.ones(9)).items()}, "two")
    assert torch.cat((network.left.weight, network.right.weight)).equal(theirs()["both.weight"])
    assert network.scale.tolist() == [1] * 4


@pytest.mark.parametrize(
    ("state", "tells"),
    [
        (theirs(strange=torch.ones(1)), "'strange'"),
        (theirs(gain=torch.ones(4)), "'gain' would be a second 'scale'"),
        ({**theirs(), "both.weight": torch.ones(3, 3)}, "'both.weight' of 3 rows is not 2 equal parts"),
        ({**theirs(), "both.weight": torch.ones(6, 3)}, "'left.weight' is (3, 3) there and (2, 3) here"),
        ({"scale": torch.ones(4)}, "'left.weight' is missing, of 2 in all"),
        ({}, "missing"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_loaded(state: dict[str, Tensor], tells: str) -> None:
    network = Two()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(InputError) as stop:
        load_authors(network, state, "two")
    assert tells in str(stop.value)
    assert all(value.equal(before[name]) for name, value in network.state_dict().items())


def test_a_parameter_too_many() -> None:
    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.zeros(4))

    with pytest.raises(InputError, match=r"'left\.weight' is too many, of 2 in all"):
        load_authors(One(), theirs(), "two")


@pytest.mark.parametrize("model", ["moment-detr", "qd-detr", "cg-detr", "univtg"])
def test_every_model_takes_stacked_attention_apart_and_says_why_it_leaves_parts_out(model: str) -> None:
    stacked = {"transformer.encoder.layers.1.self_attn.in_proj_weight": torch.arange(6.0)}
    parts = rename(model, stacked)
    assert [name.rsplit(".", 2)[1] for name in parts] == ["query", "key", "value"]
    assert torch.cat(list(parts.values())).equal(torch.arange(6.0))
    assert all(reason for reason in NAMES[model].unused.values())
    assert rename(model, {"txt_position_embed.LayerNorm.bias": torch.ones(1)}) == {}
