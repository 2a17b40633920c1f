"""The learning rate over a training, and the running average of the weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rdmf.sections import TrainConfig
from rdmf.train.schedule import Average, rate_at


@pytest.mark.parametrize("schedule", ["cosine", "constant", "step"])
@pytest.mark.parametrize("total", [1, 2, 7, 1000])
def test_every_schedule_warms_up_and_stays_in_range(schedule: str, total: int) -> None:
    config = TrainConfig(schedule=schedule, warmup=0.1)
    rates = [rate_at(step, total, config) for step in range(total)]
    warm = max(1, round(0.1 * total))
    assert rates[:warm] == sorted(rates[:warm])
    assert rates[warm - 1] == 1
    assert all(0 < r <= 1 for r in rates)
    assert rates[warm:] == sorted(rates[warm:], reverse=True)


def test_shapes_of_the_schedules() -> None:
    options = {"warmup": 0.1}
    assert rate_at(550, 1000, TrainConfig(schedule="cosine", **options)) == pytest.approx(0.5)  # type: ignore[arg-type]
    assert rate_at(1000, 1000, TrainConfig(schedule="cosine", **options)) == pytest.approx(0)  # type: ignore[arg-type]
    assert rate_at(999, 1000, TrainConfig(schedule="constant", **options)) == 1  # type: ignore[arg-type]
    step = TrainConfig(schedule="step", **options)  # type: ignore[arg-type]
    assert (rate_at(800, 1000, step), rate_at(900, 1000, step)) == (1.0, 0.1)
    drops = TrainConfig(schedule="step", drop_every=80, epochs=200, **options)  # type: ignore[arg-type]
    assert [rate_at(step, 1000, drops) for step in (399, 400, 799, 800)] == pytest.approx([1, 0.1, 0.1, 0.01])
    assert rate_at(0, 10, TrainConfig(warmup=0.0)) == 1


def test_the_average_follows_the_weights() -> None:
    model = nn.Linear(2, 1)
    model.register_buffer("count", torch.tensor(0))
    average = Average(model, decay=0.9)
    start = model.weight.detach().clone()
    expected = start.clone()
    for step in range(1, 40):
        with torch.no_grad():
            model.weight.fill_(float(step))
            model.count.fill_(step)
        average.update()
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
        torch.testing.assert_close(average.values["weight"], expected)
    assert int(average.values["count"]) == 39  # whole numbers are copied, not averaged
    assert not torch.equal(average.values["weight"], model.weight)
    assert average.values["weight"].data_ptr() != model.weight.data_ptr()


def test_the_average_of_still_weights_is_the_weights() -> None:
    model = nn.Linear(3, 3)
    average = Average(model, decay=0.99)
    for _ in range(5):
        average.update()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(average.values[name], value)
