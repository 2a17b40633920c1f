"""Small tensors: a second thread costs more than it brings, above all on a busy machine."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
