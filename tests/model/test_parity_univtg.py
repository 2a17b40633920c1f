"""Our UniVTG against the authors': outputs, every loss and the targets, with the same weights and inputs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from golden_models import Golden, error, load_golden
from torch import Tensor

from rdmf.baselines.names import load_authors
from rdmf.baselines.univtg import Answers, ClipTargets, Network, clip_targets, losses
from rdmf.config import Config
from rdmf.model import Batch
from rdmf.train.losses import Targets

pytestmark = pytest.mark.shared
NAMES = {
    "boundary": "loss_b",
    "giou": "loss_g",
    "foreground": "loss_f",
    "within": "loss_s_intra",
    "across": "loss_s_inter",
}
TOLERANCE = 1e-4


def configuration(golden: Golden) -> Config:
    return Config().updated({"model.name": "univtg", "model.hidden": golden.options["hidden_dim"]})


def build(golden: Golden, config: Config) -> Network:
    network = Network(config, golden.options["v_feat_dim"], golden.options["t_feat_dim"])
    load_authors(network, golden.state(), "univtg")
    return network.eval()


@pytest.fixture(scope="module", params=["univtg", "univtg_h256"])
def golden(request: pytest.FixtureRequest, shared: Path) -> Golden:
    return load_golden(shared, request.param)


@pytest.fixture(scope="module")
def network(golden: Golden) -> Network:
    return build(golden, configuration(golden))


@pytest.fixture(scope="module")
def answers(golden: Golden, network: Network) -> Answers:
    with torch.no_grad():
        return network(*golden.network_inputs())


def signed(reach: Tensor) -> Tensor:
    """As the authors have it: the way to the start counts backwards."""
    return reach * torch.tensor([-1.0, 1.0])


def test_outputs(golden: Golden, answers: Answers) -> None:
    theirs = golden.arrays
    assert error(answers.foreground.sigmoid()[..., None], theirs["out/pred_logits"]) < TOLERANCE
    assert error(signed(answers.reach), theirs["out/pred_spans"]) < TOLERANCE
    assert error(answers.similarity, theirs["out/saliency_scores"]) < TOLERANCE
    assert error(answers.clips, theirs["out/vid_mem_proj"]) < TOLERANCE
    assert error(answers.sentence[:, None], theirs["out/txt_mem_proj"]) < TOLERANCE


@pytest.mark.parametrize("sample", [0, 1, 2])
def test_outputs_of_one_sample_without_padding(golden: Golden, network: Network, sample: int) -> None:
    with torch.no_grad():
        alone = network(*golden.network_inputs(sample))
    theirs = {name: golden.arrays[f"single{sample}/{name}"] for name in ("pred_logits", "pred_spans")}
    assert error(alone.foreground.sigmoid()[..., None], theirs["pred_logits"]) < TOLERANCE
    assert error(signed(alone.reach), theirs["pred_spans"]) < TOLERANCE
    assert error(alone.similarity, golden.arrays[f"single{sample}/saliency_scores"]) < TOLERANCE


def wanted_by_theirs(golden: Golden) -> ClipTargets:
    theirs = golden.arrays
    mask = theirs["target/timestamp_mask"].bool()
    return ClipTargets(
        mask=mask,
        foreground=theirs["target/timestamp_window"].bool(),
        windows=theirs["target/span_labels_nn"],
        saliency=theirs["target/saliency_scores"],
        positive=theirs["target/saliency_pos_labels"][:, 0],
        usable=mask.any(1),
    )


def test_losses(golden: Golden, answers: Answers) -> None:
    own, wanted = configuration(golden).univtg, wanted_by_theirs(golden)
    parts = losses(answers, golden.arrays["target/timestamp"][..., 0], wanted.mask, wanted, own)
    for ours, name in NAMES.items():
        assert abs(float(parts[ours]) - golden.info["losses"][name]) < TOLERANCE, ours
        assert getattr(own, ours) == golden.info["weight_dict"][name], ours
    total = sum(getattr(own, ours) * float(parts[ours]) for ours in NAMES)
    assert abs(total - golden.info["total_weighted_loss"]) < TOLERANCE


def test_gradients(shared: Path) -> None:
    golden = load_golden(shared, "univtg_h256")
    own, wanted = configuration(golden).univtg, wanted_by_theirs(golden)
    network = build(golden, configuration(golden))
    times = golden.arrays["target/timestamp"][..., 0]
    parts = losses(network(*golden.network_inputs()), times, wanted.mask, wanted, own)
    sum(getattr(own, name) * value for name, value in parts.items()).backward()
    norms = golden.info["grad_l2_norm_of_total_loss"]
    for theirs, ours in (
        ("weightedpool.weight", network.pool.weight),
        ("token_type_embeddings.weight", network.kind.weight),
        ("span_embed.layers.0.weight", network.reach.layers[0].weight),
        ("class_embed.layers.2.weight", network.foreground.layers[2].weight),
        ("input_vid_proj.0.net.1.weight", network.video.linears[0].weight),
        ("transformer.encoder.layers.0.linear1.weight", network.encoder[0].mlp.into.weight),
    ):
        assert float(ours.grad.norm()) == pytest.approx(norms[theirs], rel=1e-3), theirs


def test_targets_from_annotations(golden: Golden, shared: Path) -> None:
    """From windows and ratings as a cache gives them to the answers that the authors' data loader asks for."""
    annotations = json.loads((shared / "golden/models/inputs.json").read_text(encoding="utf-8"))["annotations"]
    theirs = golden.arrays
    mask = theirs["target/timestamp_mask"].bool()
    count, longest = mask.shape
    windows, valid = torch.zeros(count, 5, 2), torch.zeros(count, 5, dtype=torch.bool)
    saliency, edges = torch.zeros(count, longest), torch.ones(count, longest + 1)
    for i, query in enumerate(annotations):
        found = torch.tensor(query["relevant_windows"], dtype=torch.float64) / query["duration"]
        windows[i, : len(found)], valid[i, : len(found)] = found.float(), True
        ratings = torch.tensor(query["saliency_scores"], dtype=torch.float64)
        saliency[i, query["relevant_clip_ids"]] = (ratings.mean(1) / 4).float()
        length = int(mask[i].sum())
        edges[i, : length + 1] = (torch.arange(length + 1).double() * 2 / query["duration"]).float()
    nothing = torch.zeros(count, 1, 1)
    batch = Batch(nothing.expand(-1, longest, -1), mask, edges, nothing, torch.ones(count, 1, dtype=torch.bool))
    targets = Targets(windows, valid, saliency, mask, rated=torch.ones(count, dtype=torch.bool))
    times = edges[:, 1:]
    wanted = clip_targets(times, batch, targets)
    assert error(times * mask, theirs["target/timestamp"][..., 0]) < 1e-6
    assert wanted.mask.equal(mask)
    assert wanted.foreground.equal(theirs["target/timestamp_window"].bool())
    assert error(wanted.windows, theirs["target/span_labels_nn"]) < 1e-6
    assert error(wanted.saliency * 4, theirs["target/saliency_scores"]) < 1e-6
    assert wanted.usable.all()
    assert (wanted.saliency.gather(1, wanted.positive[:, None]) > 0).all()
