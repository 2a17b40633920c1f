"""Our Moment-DETR against the authors': outputs, every loss, the assignment and gradients, with the same weights."""

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
from golden_models import Golden, load_golden

from rdmf.baselines.detr import margin_loss, moment_losses
from rdmf.baselines.moment_detr import Answers, Network
from rdmf.baselines.names import load_authors
from rdmf.config import Config, load_config

pytestmark = pytest.mark.shared
CONFIG = Config().updated({"model.name": "moment-detr"})
OWN = CONFIG.moment_detr


@pytest.fixture(scope="module")
def golden(shared: Path) -> Golden:
    return load_golden(shared, "moment_detr")


@pytest.fixture(scope="module")
def network(golden: Golden) -> Network:
    network = Network(CONFIG, golden.options["v_feat_dim"], golden.options["t_feat_dim"])
    load_authors(network, golden.state(), "moment-detr")
    return network.eval()


@pytest.fixture(scope="module")
def answers(golden: Golden, network: Network) -> Answers:
    with torch.no_grad():
        return network(*golden.network_inputs())


def test_outputs(golden: Golden, answers: Answers) -> None:
    check_outputs(golden, "out", answers.saliency, answers.layers[-1])
    check_early_layers(golden, answers.layers)


@pytest.mark.parametrize("sample", [0, 1, 2])
@torch.no_grad()
def test_outputs_of_one_sample_without_padding(golden: Golden, network: Network, sample: int) -> None:
    alone = network(*golden.network_inputs(sample))
    check_outputs(golden, f"single{sample}", alone.saliency, alone.layers[-1])


def test_losses_and_assignment(golden: Golden, answers: Answers) -> None:
    check_moment_losses(golden, answers.layers, OWN)
    saliency = margin_loss(answers.saliency, golden_pairs(golden), OWN.margin)
    assert abs(float(saliency) - golden.info["losses"]["loss_saliency"]) < TOLERANCE
    assert golden.info["weight_dict"]["loss_saliency"] == OWN.saliency


def test_total_and_gradients(golden: Golden, network: Network) -> None:
    network.zero_grad()
    said = network(*golden.network_inputs())
    total = OWN.saliency * margin_loss(said.saliency, golden_pairs(golden), OWN.margin)
    for moments in said.layers:
        for name, value in moment_losses(moments, golden_targets(golden), OWN).items():
            total = total + getattr(OWN, name) * value
    check_total(golden, total)
    total.backward()
    check_gradients(golden, network, "moment-detr")


def test_settings_are_the_authors(golden: Golden) -> None:
    """Defaults of the section, and the preset, against their command line's."""
    theirs, preset = golden.options, load_config("moment-detr")
    assert preset.moment_detr == OWN
    for ours, name in (
        (OWN.encoder_layers, "enc_layers"),
        (OWN.decoder_layers, "dec_layers"),
        (OWN.heads, "nheads"),
        (OWN.feedforward, "dim_feedforward"),
        (OWN.projections, "n_input_proj"),
        (OWN.queries, "num_queries"),
        (OWN.aux_loss, "aux_loss"),
        (OWN.span, "span_loss_coef"),
        (OWN.giou, "giou_loss_coef"),
        (OWN.label, "label_loss_coef"),
        (OWN.saliency, "lw_saliency"),
        (OWN.background, "eos_coef"),
        (OWN.margin, "saliency_margin"),
        (OWN.cost_span, "set_cost_span"),
        (OWN.cost_giou, "set_cost_giou"),
        (OWN.cost_label, "set_cost_class"),
        (preset.model.hidden, "hidden_dim"),
        (preset.model.dropout, "dropout"),
        (preset.model.input_dropout, "input_dropout"),
        (preset.train.lr, "lr"),
        (preset.train.weight_decay, "wd"),
        (preset.train.batch, "bsz"),
        (preset.train.epochs, "n_epoch"),
        (preset.train.clip_norm, "grad_clip"),
        (preset.data.max_tokens, "max_q_l"),
        (preset.score.top_k, "max_after_nms"),
    ):
        assert ours == theirs[name], name
    assert theirs["lr_drop"] > theirs["n_epoch"]  # the preset's rate is constant
    assert theirs["nms_thd"] == -1
    assert preset.score.nms == 1
