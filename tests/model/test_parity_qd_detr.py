"""Our QD-DETR against the authors': outputs with and without the misplaced mask, every loss, assignment, gradients."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from detr_golden import (
    TOLERANCE,
    check_early_layers,
    check_gradients,
    check_moment_losses,
    check_outputs,
    check_total,
    golden_pairs,
    golden_targets,
)
from golden_models import Golden, error, load_golden
from torch import Tensor

from rdmf.baselines.detr import levels, moment_losses, relevant_clips
from rdmf.baselines.names import load_authors
from rdmf.baselines.qd_detr import Answers, Network, saliency_losses
from rdmf.config import Config, load_config
from rdmf.train.losses import Targets

pytestmark = pytest.mark.shared
CONFIG = Config().updated({"model.name": "qd-detr"})
OWN = CONFIG.qd_detr


def build(golden: Golden, config: Config = CONFIG) -> Network:
    network = Network(config, golden.options["v_feat_dim"], golden.options["t_feat_dim"])
    load_authors(network, golden.state(), "qd-detr")
    return network.eval()


@pytest.fixture(scope="module")
def golden(shared: Path) -> Golden:
    return load_golden(shared, "qd_detr")


@pytest.fixture(scope="module")
def network(golden: Golden) -> Network:
    return build(golden)


@pytest.fixture(scope="module")
def answers(golden: Golden, network: Network) -> Answers:
    with torch.no_grad():
        return network(*golden.network_inputs(), foreign=True)


def saliency_of(golden: Golden, answers: Answers) -> Tensor:
    mask = golden.inputs["src_vid_mask"].bool()
    return saliency_losses(answers, mask, golden_pairs(golden), golden.arrays["target/saliency_all_labels"], OWN)


def test_outputs(golden: Golden, answers: Answers) -> None:
    check_outputs(golden, "out", answers.saliency, answers.layers[-1])
    check_early_layers(golden, answers.layers)
    assert answers.foreign is not None
    assert error(answers.foreign, golden.arrays["out/saliency_scores_neg"]) < TOLERANCE


@pytest.mark.parametrize("sample", [0, 1, 2])
@torch.no_grad()
def test_outputs_of_one_sample_without_padding(golden: Golden, network: Network, sample: int) -> None:
    alone = network(*golden.network_inputs(sample))
    check_outputs(golden, f"single{sample}", alone.saliency, alone.layers[-1])


@torch.no_grad()
def test_outputs_with_the_mask_laid_out_as_meant(golden: Golden, answers: Answers) -> None:
    meant = build(golden, CONFIG.updated({"qd_detr.mask_layout": "batch-major"}))(*golden.network_inputs())
    check_outputs(golden, "fixedmask", meant.saliency, meant.layers[-1])
    # The bug moves saliency by much more than the tolerance, or the two tests would say the same.
    assert error(meant.saliency, answers.saliency) > 100 * TOLERANCE
    for sample in range(3):
        alone = golden.arrays[f"single{sample}/saliency_scores"]
        assert error(meant.saliency[sample : sample + 1, : alone.shape[1]], alone) < TOLERANCE


def test_losses_and_assignment(golden: Golden, answers: Answers) -> None:
    check_moment_losses(golden, answers.layers, OWN)
    assert abs(float(saliency_of(golden, answers)) - golden.info["losses"]["loss_saliency"]) < TOLERANCE
    assert golden.info["weight_dict"]["loss_saliency"] == OWN.saliency


def test_total_and_gradients(golden: Golden, network: Network) -> None:
    network.zero_grad()
    said = network(*golden.network_inputs(), foreign=True)
    total = OWN.saliency * saliency_of(golden, said)
    for moments in said.layers:
        for name, value in moment_losses(moments, golden_targets(golden), OWN).items():
            total = total + getattr(OWN, name) * value
    check_total(golden, total)
    total.backward()
    check_gradients(golden, network, "qd-detr")


def test_levels_from_ratings_are_the_authors(golden: Golden, shared: Path) -> None:
    """From mean ratings over the scale's top, as a batch has them, to the sums of three annotators."""
    level = golden.arrays["target/saliency_all_labels"]
    mask = golden.inputs["src_vid_mask"].bool()
    nothing = torch.zeros(3, 0, 2)
    targets = Targets(nothing, nothing[..., 0].bool(), level / 3 / 4, mask, rated=torch.ones(3, dtype=torch.bool))
    assert levels(targets, OWN.window_level).equal(level)
    assert relevant_clips(targets).equal(level > 0)


def test_settings_are_the_authors(golden: Golden) -> None:
    """The section's defaults are Moment-DETR's, as the authors' are; the preset differs in the name alone."""
    ours, other = load_config("qd-detr"), load_config("moment-detr")
    assert ours.qd_detr == OWN
    assert ours.updated({"model.name": "moment-detr"}) == other
    for name in vars(other.moment_detr):
        assert getattr(OWN, name) == getattr(other.moment_detr, name)
    theirs = golden.options
    assert (theirs["enc_layers"], theirs["dec_layers"]) == (OWN.encoder_layers, OWN.decoder_layers)
    assert theirs["enc_layers"] == OWN.text_layers  # they have one number for both stacks
    for name, value in (("lr", 1e-4), ("wd", 1e-4), ("bsz", 32), ("n_epoch", 200), ("grad_clip", 0.1)):
        assert theirs[name] == value
