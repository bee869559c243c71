"""The encoders: a ResNet up to res4, and SwiftNet's light one, which needs no second backbone.

Section 3.2 of the paper; notebook 05 takes them apart.
"""

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn


class Encoder(nn.Module):
    """A ResNet up to layer3 (res4): (B, in_channels, H, W) -> features at strides 16, 8 and 4."""

    def __init__(self, backbone: str, in_channels: int):
        super().__init__()
        resnet = torchvision.models.get_model(backbone, weights=None, zero_init_residual=True)
        if in_channels != 3:
            resnet.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        self.stem = nn.Sequential(resnet.conv1, resnet.bn1, nn.ReLU(inplace=True), resnet.maxpool)
        self.layer1, self.layer2, self.layer3 = resnet.layer1, resnet.layer2, resnet.layer3
        self.dims = [
            layer[-1].bn3.num_features if backbone == "resnet50" else layer[-1].bn2.num_features
            for layer in (self.layer3, self.layer2, self.layer1)
        ]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, in_channels, H, W) -> (B, C, H/16, W/16), then strides 8 and 4 for the decoder."""
        stride4 = self.layer1(self.stem(x))
        stride8 = self.layer2(stride4)
        return self.layer3(stride8), stride8, stride4


class LightEncoder(nn.Module):
    """SwiftNet's light-aggregation encoder: a mask joins what the query encoder saw of its frame.

    No second backbone: at each stride mask and feature are concatenated and mixed by a 1x1
    convolution. On the way down nothing is thrown away: reversed sub-pixel sampling turns 2 x 2
    positions into four times the channels. Source: Wang et al. 2021, "Light Aggregation Encoder".
    """

    def __init__(self, dims: list[int]):
        super().__init__()
        at16, at8, at4 = dims
        self.mask = nn.Conv2d(4 * 4, 64, 1)
        self.mix4 = nn.Conv2d(64 + at4, 64, 1)
        self.mix8 = nn.Conv2d(4 * 64 + at8, 128, 1)
        self.mix16 = nn.Conv2d(4 * 128 + at16, at16, 1)
        nn.init.eye_(self.mix16.weight[:, -at16:, 0, 0].detach())  # a start at which keys match

    def forward(self, features: list[Tensor], mask: Tensor) -> Tensor:
        """features at strides 16, 8 and 4 (B, C, ...), mask (B, 1, H, W) -> (B, C, H/16, W/16)."""
        at16, at8, at4 = features
        x = self.mask(F.pixel_unshuffle(mask, 4))  # reversed sub-pixel, (B, C, H/4, W/4)
        x = F.relu(self.mix4(torch.cat([x, at4], dim=1)))
        x = F.relu(self.mix8(torch.cat([F.pixel_unshuffle(x, 2), at8], dim=1)))  # stride 8
        return F.relu(self.mix16(torch.cat([F.pixel_unshuffle(x, 2), at16], dim=1)))  # stride 16
