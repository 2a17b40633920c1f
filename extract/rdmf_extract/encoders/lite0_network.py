"""EfficientNet-Lite0's layers (Tan and Le, 2019, and Google's Lite models), without a classifier.

timm has this network too, but loading timm loads torchvision and PyTorch's compiler with it: five seconds and 200 MB in
the process that encodes. Layers carry timm's names and do the same operations in the same order, so weights load as
they are, and features are the same bit for bit.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

#: By stage: side of the kernels, stride of the first block, widening inside a block, channels, blocks.
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
STEM, FEATURES = 32, 1280


class Norm(nn.BatchNorm2d):
    """TensorFlow's batch norm, then ReLU6 where asked for."""

    def __init__(self, channels: int, *, act: bool = True) -> None:
        super().__init__(channels, eps=1e-3)
        self._act = act

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        x = super().forward(x)
        return F.relu6(x, inplace=True) if self._act else x


class Conv(nn.Conv2d):
    """A convolution without bias that pads as TensorFlow does: by the input's size, and more at the end than before."""

    def __init__(self, inputs: int, outputs: int, side: int = 1, *, stride: int = 1, groups: int = 1) -> None:
        padding = side // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, side, stride=stride, padding=padding, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, outputs, ceil(H / stride), ceil(W / stride))."""
        if self.stride[0] > 1:
            side, step = self.kernel_size[0], self.stride[0]
            # Twice two numbers, before and after; the last axis first.
            lacking = [max((-(-n // step) - 1) * step + side - n, 0) for n in (x.shape[3], x.shape[2])]
            x = F.pad(x, [part for n in lacking for part in (n // 2, n - n // 2)])
        return super().forward(x)


class Separable(nn.Module):
    """The first stage's block: a kernel a channel, then across channels."""

    def __init__(self, inputs: int, outputs: int, side: int, stride: int) -> None:
        super().__init__()
        self.conv_dw, self.bn1 = Conv(inputs, inputs, side, stride=stride, groups=inputs), Norm(inputs)
        self.conv_pw, self.bn2 = Conv(inputs, outputs), Norm(outputs, act=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H, W)."""
        return self.bn2(self.conv_pw(self.bn1(self.conv_dw(x))))


class Inverted(nn.Module):
    """Widened, a kernel a channel, narrowed; the input is added where it has the output's shape."""

    def __init__(self, inputs: int, outputs: int, side: int, stride: int, wider: int) -> None:
        super().__init__()
        inner = inputs * wider
        self.conv_pw, self.bn1 = Conv(inputs, inner), Norm(inner)
        self.conv_dw, self.bn2 = Conv(inner, inner, side, stride=stride, groups=inner), Norm(inner)
        self.conv_pwl, self.bn3 = Conv(inner, outputs), Norm(outputs, act=False)
        self._adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, ceil(H / stride), ceil(W / stride))."""
        y = self.bn1(self.conv_pw(x))
        y = self.bn3(self.conv_pwl(self.bn2(self.conv_dw(y))))
        return y + x if self._adds else y


class Lite0(nn.Module):
    """(B, 3, H, W) to (B, 1280), the mean over places."""

    num_features = FEATURES

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem, self.bn1 = Conv(3, STEM, 3, stride=2), Norm(STEM)
        stages, channels = [], STEM
        for side, stride, wider, outputs, count in STAGES:
            blocks: list[nn.Module] = []
            for i in range(count):
                step = stride if i == 0 else 1
                plain = wider == 1
                blocks.append(
                    Separable(channels, outputs, side, step)
                    if plain
                    else Inverted(channels, outputs, side, step, wider)
                )
                channels = outputs
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        self.conv_head, self.bn2 = Conv(channels, FEATURES), Norm(FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = self.bn2(self.conv_head(self.blocks(self.bn1(self.conv_stem(x)))))
        return F.adaptive_avg_pool2d(x, 1).flatten(1)
