"""In which numbers matrix products are made in training."""

from __future__ import annotations

import torch


def precision(word: str, device: torch.device) -> torch.dtype | None:
    """bfloat16 for `torch.autocast`, or None for float32 throughout; weights, fields and losses are float32 either way.

    Args:
        word: `train.amp`: auto, on or off. A GPU without bfloat16 stays at float32 in any case.
    """
    if word == "off":
        return None
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else None
    return torch.bfloat16 if word == "on" else None


def multiplies_bfloat16() -> bool | None:
    """Whether the processor does (avx512_bf16, AMX): on others such a product takes ten times as long, not less.

    None where PyTorch does not tell: older ones, and on processors other than x86.
    """
    capabilities = getattr(torch.cpu, "get_capabilities", None)
    can = capabilities() if capabilities is not None else {}
    if can.get("architecture") != "x86_64":
        return None
    return bool(can.get("avx512_bf16") or can.get("amx_bf16"))
