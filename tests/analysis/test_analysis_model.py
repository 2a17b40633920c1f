"""Coefficients out of settings and models, the recorded steps against the model's own, and what is said of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rdmf.analysis.model import from_config, from_model, pooled_queries, reaction_model, refuse_others
from rdmf.analysis.spacetime import Recorder, measure
from rdmf.analysis.summary import summarise
from rdmf.analysis.words import pattern, sentences
from rdmf.config import Config, load_config
from rdmf.model import RDMF, Batch, build_model
from rdmf.store import InputError, Provenance, TextRecord, VideoRecord, open_cache, write_cache

D_VIDEO, D_TEXT = 7, 5
SMALL: dict[str, Any] = {
    "hidden": 16,
    "fusion.blocks": 2,
    "fusion.scales": 2,
    "fusion.heads": 2,
    "decoder.queries": 8,
    "decoder.segments": 2,
    "decoder.layers": 1,
    "decoder.heads": 2,
    "decoder.runs": 2,
    "decoder.levels": [0.0, -1.0],
}


def small_model(**overrides: Any) -> RDMF:
    torch.manual_seed(0)
    config = Config().updated({**SMALL, **{k.replace("__", "."): v for k, v in overrides.items()}})
    model = RDMF(config, D_VIDEO, D_TEXT).eval()
    with torch.no_grad():
        for block in model.fusion.blocks:
            if getattr(getattr(block, "rates", None), "shift", None) is not None:
                block.rates.shift.weight.normal_()  # type: ignore[union-attr, operator]
    return model


def make_batch(lengths: list[int], seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    longest = max(lengths)
    mask = torch.arange(longest)[None] < torch.tensor(lengths)[:, None]
    share = torch.arange(longest + 1)[None] / torch.tensor(lengths)[:, None]
    return Batch(
        video=torch.randn(len(lengths), longest, D_VIDEO, generator=generator),
        video_mask=mask,
        edges=share.clamp(max=1.0),
        text=torch.randn(len(lengths), 4, D_TEXT, generator=generator),
        text_mask=torch.arange(4)[None] < torch.tensor([2 + i % 3 for i in range(len(lengths))])[:, None],
    )


def test_settings_give_the_coefficients_that_training_starts_with() -> None:
    system = from_config(load_config("paper"))
    (block,) = system.blocks
    assert [float(v[0, 0]) for v in block.coefficients.arrays] == pytest.approx([0.04, 0.06, 0.2, 0.1], abs=1e-5)
    assert float(system.rate[0]) == pytest.approx(0.1, abs=1e-5)
    assert (system.driven, block.coefficients.integrator, block.scale.tolist()) == (False, "euler", [0])
    halved = from_config(load_config("default", None, {"fusion.step_size": 0.5}))
    assert halved.blocks[0].name == "every block"
    assert halved.blocks[0].scale.tolist() == [0, 1, 2, 3]
    # D is per unit of time: halving the step leaves it.
    assert float(halved.blocks[0].coefficients.activator[0, 0]) == pytest.approx(0.2, abs=1e-5)
    assert from_config(load_config("default", None, {"fusion.kind": "cross-attention"})).blocks == ()


def test_a_models_coefficients_are_those_it_runs_with() -> None:
    model, batch = small_model(), make_batch([5, 8, 3])
    seen: list[Any] = []
    for block in model.fusion.blocks:
        block.rates.register_forward_hook(lambda *a: seen.append((a[1][0], a[2])))  # type: ignore[union-attr, operator]
    with torch.no_grad():
        model(batch)
    pooled = seen[0][0]
    system = from_model(model, pooled)
    assert len(system.blocks) == 2
    for block, (_, rates) in zip(system.blocks, list(seen)):
        np.testing.assert_allclose(block.coefficients.feed, rates.feed[:, 0].detach().numpy())
        np.testing.assert_allclose(block.coefficients.substrate, rates.substrate[:, 0].detach().numpy())
        assert block.coefficients.feed.shape == (3, 16)
        assert block.scale.tolist() == [0] * 8 + [1] * 8
    assert np.ptp(system.blocks[0].coefficients.feed, axis=0).max() > 1e-3  # queries differ


def test_without_sentences_a_models_kinetics_are_those_that_queries_are_shifted_from() -> None:
    model = small_model()
    with torch.no_grad():
        for block in model.fusion.blocks:
            block.rates.shift.bias.normal_()  # type: ignore[union-attr]
    base, zero = from_model(model), from_model(model, torch.zeros(1, 16))
    for one, other in zip(base.blocks, zero.blocks):
        for x, y in zip(one.coefficients.arrays, other.coefficients.arrays):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("normalize", [False, True])
def test_sentences_of_a_cache_are_pooled_as_the_model_pools_them(tmp_path: Any, normalize: bool) -> None:
    model = small_model(data__normalize=normalize, data__max_tokens=3)
    rng = np.random.default_rng(0)
    tokens = [rng.standard_normal((n, D_TEXT)).astype(np.float32) for n in (1, 5, 2)]
    times = np.stack((np.arange(4.0), np.arange(4.0) + 1), 1)
    video = VideoRecord("v", rng.standard_normal((4, D_VIDEO)).astype(np.float32), times, 4.0)
    texts = [TextRecord(f"text {i}", t) for i, t in enumerate(tokens)]
    made = Provenance({"encoder": "made-up"}, {"encoder": "made-up"})
    path = write_cache(tmp_path / "c.h5", made, [video], texts, [], feature_dtype="float32")
    with open_cache(path) as cache:
        pooled = pooled_queries(model, cache, np.arange(3), batch=2)
    for row, t in zip(pooled, tokens):
        kept = torch.from_numpy(t[:3])[None]
        if normalize:
            kept = torch.nn.functional.normalize(kept, dim=-1)
        torch.testing.assert_close(row, model.text(kept).mean(1)[0].detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"fusion__integrator": "euler"},
        {"fusion__video": "substrate", "fusion__text_field": "pooled"},
        {"fusion__kind": "literal"},
        {"fusion__kind": "literal", "fusion__video": "substrate", "fusion__steps": 1},
        {"fusion__kinetics": "turing", "fusion__scales": 4},
        pytest.param({"model__cuts": 1.0}, marks=pytest.mark.long),  # its far end is found step by step
    ],
)
def test_the_recorded_steps_are_the_models_own(overrides: dict[str, Any]) -> None:
    model, batch = small_model(**overrides), make_batch([6, 9, 1])
    ends: list[torch.Tensor] = []
    for block in model.fusion.blocks:
        block.out.register_forward_pre_hook(lambda _, inputs: ends.append(inputs[0]))  # type: ignore[union-attr, operator]
    with torch.no_grad():
        alone = model(batch).saliency
        ends.clear()
        with Recorder(model) as recorder:
            again = model(batch).saliency
    assert torch.equal(alone, again)  # watching changes nothing
    fused = model.fusion
    for row, length in enumerate((6, 9, 1)):
        seen = recorder.space_time(row)
        assert seen.before.shape == (length, 16)
        for run, end in zip(seen.runs, ends):
            steps = model.config.fusion.steps
            assert run.video.shape == (steps + 1, length, 16)
            assert run.activator is (run.video if model.config.fusion.video == "activator" else run.text)
            last = np.concatenate((run.video[-1], run.text[-1]), -1)[:, : end.shape[-1]]
            np.testing.assert_array_equal(last, end[row, :length].numpy())  # to the bit
            assert run.video[0].min() > 0
            assert run.video[0].max() < 1
    # What the heads read comes of the last block's output by the model's own layers.
    assert len(seen.runs) == len(fused.blocks)
    with torch.no_grad():
        read = model.saliency(torch.from_numpy(recorder.space_time(1).fused))[:, 0]
    torch.testing.assert_close(read, alone[1, :9], rtol=1e-5, atol=1e-6)
    assert not model.diffusion._forward_hooks  # and nothing is left behind


def test_what_is_measured_of_a_pattern() -> None:
    model, batch = small_model(fusion__kinetics="stable"), make_batch([12])
    with torch.no_grad(), Recorder(model) as recorder:
        model(batch)
    seen = recorder.space_time()
    found = measure(seen)
    assert found["clips"] == 12
    for run, block in zip(seen.runs, found["blocks"]):
        assert block["activator_spread"][0] == pytest.approx(float(run.activator[0].std(0).mean()), rel=1e-5)
        assert len(block["substrate_mean"]) == model.config.fusion.steps + 1
        assert 0 <= block["alive_at_rest"] <= 1
    assert len(pattern(found)) == 2


def test_a_model_without_reaction_is_refused_by_name() -> None:
    config = Config().updated({"model.name": "qd-detr", "qd_detr.heads": 4, "hidden": 16})
    with pytest.raises(InputError, match="runs/other: qd-detr has no reaction"):
        reaction_model(build_model(config, D_VIDEO, D_TEXT), "runs/other")
    with pytest.raises(InputError, match="qd-detr"):
        refuse_others(config, "x")


def told(preset: str, **overrides: Any) -> str:
    config = load_config(preset, None, {k.replace("__", "."): v for k, v in overrides.items()})
    return " ".join(sentences(summarise(from_config(config), clips=75)))


def test_the_words_say_plainly_what_the_papers_kinetics_are() -> None:
    said = told("paper")
    assert "on the fold" in said
    assert "a = 0.200, s = 0.500" in said
    assert "determinant 0, trace +0.020" in said
    assert "It is not stable" in said
    assert "Table 7" in said
    assert "order=paper keeps D_video above D_text" in said
    near = told("paper", fusion__kill=0.05)
    assert "bistable" in near
    assert "attracts, for a^2 = 0.102 is above F and k" in near
    assert "Turing's condition does not hold" in near
    assert "Table 7" not in near


def test_the_words_for_every_other_case() -> None:
    assert "beyond the fold" in told("paper", fusion__kill=0.07)
    assert "exists and repels" in told("paper", fusion__kill=0.0595)
    assert "Turing's condition holds" in told("default", fusion__kinetics="turing")
    assert "by construction the non-trivial state exists and attracts" in told("default", fusion__kinetics="stable")
    assert "there is no non-trivial state" in told("default")
    assert "There is no reaction" in told("default", fusion__kind="cross-attention")
    assert "switched off" in told("paper", diffusion__steps=0)
    assert "some waves alternate in sign" in told("paper", diffusion__limit=0.5, diffusion__coefficient=0.4)
    near_half = told("paper", diffusion__limit=0.5, diffusion__coefficient=0.498)
    assert "shorter ones more, but the very shortest hardly any" in near_half
    assert "hardly any" not in told("paper", diffusion__limit=0.5, diffusion__coefficient=0.4)
    assert "No wave loses half its power." in (said := told("paper", diffusion__coefficient=1e-6))
    assert "shorter ones more" not in said
    assert "interleaved combs" in told("default")
    assert "interleaved combs" not in told("paper")


def test_the_words_for_a_distribution() -> None:
    torch.manual_seed(1)
    model = small_model()
    system = from_model(model, torch.randn(5, 16))
    summary = summarise(system, clips=20, sentences=[f"sentence {i}" for i in range(5)])
    said = " ".join(sentences(summary))
    assert "5 sentences x 16 channels" in said
    assert "pairs of sentence and channel" in said
    for block in summary["blocks"]:
        assert sum(block["shares"]["system"].values()) == pytest.approx(1)
        assert len(block["by_query"]) == 5
        assert len(block["by_channel"]) == 16
    base = " ".join(sentences(summarise(from_model(small_model(fusion__kinetics="stable")), clips=20)))
    assert "shift" in base
