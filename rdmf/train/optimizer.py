"""The optimizer of every training: AdamW (Loshchilov and Hutter, 2019) as PyTorch has it."""

from __future__ import annotations

from inspect import unwrap

import torch
from torch.optim import Optimizer


class AdamW(torch.optim.AdamW):
    """PyTorch's, whose methods do not look after code that is being traced by `torch.compile`.

    For that they would load the compiler in their first call: as long again as it takes to load PyTorch, 2.1 seconds of
    a core beside 2.5, at the start of every training that compiles nothing. No optimizer's step is traced here.
    """

    step = torch.no_grad()(unwrap(torch.optim.AdamW.step))
    add_param_group = unwrap(Optimizer.add_param_group)
    zero_grad = unwrap(Optimizer.zero_grad)
    state_dict = unwrap(Optimizer.state_dict)
    load_state_dict = unwrap(Optimizer.load_state_dict)
