"""Networks for machines without segmentation-models-pytorch, named in configs as `gpu_rows.networks:<function>`."""

import torch.nn.functional as F
from torch import Tensor, nn


class Segmenter(nn.Module):
    """A backbone, a decoder at four times the backbone's resolution, and a classifier, about as in DeepLabV3+."""

    def __init__(self, backbone: nn.Module, channels: int, width: int, num_classes: int, enlarge: int) -> None:
        super().__init__()
        self.backbone, self.enlarge = backbone, enlarge
        self.reduce = nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.decoder = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
            nn.Conv2d(width, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.classifier = nn.Conv2d(width, num_classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits at four or eight times the backbone's resolution."""
        reduced = self.reduce(self.backbone(images))
        larger = F.interpolate(reduced, scale_factor=self.enlarge, mode="bilinear", align_corners=False)
        return self.classifier(self.decoder(larger))


def student(num_classes: int) -> nn.Module:
    """MobileNetV2 x 0.5 of torchvision."""
    from torchvision.models import mobilenet_v2

    features = mobilenet_v2(weights=None, width_mult=0.5).features
    return Segmenter(features, 1280, 256, num_classes, 8)


def teacher(num_classes: int) -> nn.Module:
    """ResNet-50 of torchvision with its last stage dilated."""
    from torchvision.models import resnet50

    net = resnet50(weights=None, replace_stride_with_dilation=[False, False, True])
    parts = (net.conv1, net.bn1, net.relu, net.maxpool, net.layer1, net.layer2, net.layer3, net.layer4)
    return Segmenter(nn.Sequential(*parts), 2048, 256, num_classes, 4)


def tiny(num_classes: int, width: int = 8) -> nn.Module:
    """A network for a look at the script itself."""
    convolution = nn.Conv2d(3, width, 3, stride=4, padding=1, bias=False)
    return Segmenter(nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU()), width, width, num_classes, 2)
