"""Our optimizer is PyTorch's to the bit, and loads no compiler."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from rdmf.train.optimizer import AdamW

TRAINING = """
import json, sys, torch
from rdmf.train import loop
if sys.argv[4] == "PyTorch's":
    loop.AdamW = torch.optim.AdamW
loop.train(sys.argv[1], sys.argv[2], overrides=json.loads(sys.argv[3]), quiet=True)
print(json.dumps(sorted({"torch._dynamo", "torch._inductor", "sympy"} & set(sys.modules))))
"""


@pytest.mark.long
@pytest.mark.parametrize("whose", ["ours", "PyTorch's"])
def test_a_training_does_not_load_the_compiler(
    whose: str, cache_path: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    """PyTorch's does, so that the names looked for are those that it has."""
    settings = json.dumps({**tiny, "epochs": 1})
    done = subprocess.run(
        [sys.executable, "-c", TRAINING, str(cache_path), str(tmp_path / "run"), settings, whose],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    expected = [] if whose == "ours" else ["sympy", "torch._dynamo", "torch._inductor"]
    assert json.loads(done.stdout.splitlines()[-1]) == expected


def weights(kind: type[torch.optim.Optimizer], fused: bool, stops: bool) -> list[torch.Tensor]:
    """What five steps with two groups make of some weights; `stops`: the state is saved and loaded on the way."""
    generator = torch.Generator().manual_seed(0)
    parameters = [torch.randn(shape, generator=generator).requires_grad_() for shape in ((3, 4), (5,), (2, 2))]

    def made() -> Any:
        groups = [{"params": parameters[:1], "weight_decay": 0.1}, {"params": parameters[1:2], "weight_decay": 0.0}]
        found = kind(groups, lr=0.01, fused=fused)  # type: ignore[call-arg]
        found.add_param_group({"params": parameters[2:]})
        return found

    optimizer = made()
    for step in range(5):
        if stops and step == 3:
            kept, optimizer = optimizer.state_dict(), made()
            optimizer.load_state_dict(kept)
        for parameter in parameters:
            parameter.square().sum().add(parameter.sum()).backward()
        before = [parameter.detach().clone() for parameter in parameters]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        assert not any(torch.equal(parameter, old) for parameter, old in zip(parameters, before))
        assert all(parameter.grad is None and parameter.is_leaf for parameter in parameters)
    return parameters


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("stops", [True, False])
def test_steps_and_states_are_pytorchs(fused: bool, stops: bool) -> None:
    for ours, theirs in zip(weights(AdamW, fused, stops), weights(torch.optim.AdamW, fused, False)):
        assert torch.equal(ours, theirs)


def test_hooks_are_called() -> None:
    """PyTorch wraps the step of any class that it has not seen, to profile it and to call these."""
    parameter = torch.ones(2, requires_grad=True)
    optimizer, called = AdamW([parameter], lr=0.1), []
    optimizer.register_step_post_hook(lambda *_: called.append(parameter.detach().clone()))
    parameter.sum().backward()
    optimizer.step()
    torch.testing.assert_close(called[0], torch.full((2,), 0.9 - 0.001), atol=1e-6, rtol=0)
