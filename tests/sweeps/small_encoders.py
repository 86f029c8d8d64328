"""Small encoders that know no classes, in folders as transformers writes them."""

import json
from pathlib import Path

import torch
import transformers
from torch_releases import needs_torch

MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.3, 0.25]
"""Of the images, as the folders say."""
SMALL = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}


def dinov2():
    config = transformers.Dinov2Config(**SMALL, mlp_ratio=2, image_size=56, patch_size=14)
    return transformers.Dinov2Model(config)


def saved(make, folder="encoder"):
    """Save a model of transformers, with random weights and a normalization of its own."""
    needs_torch(2, 6)
    torch.manual_seed(0)
    model = make()
    for parameter in model.parameters():  # some positions start at 0
        torch.nn.init.normal_(parameter, std=0.1)
    model.eval().save_pretrained(folder)
    content = {"image_mean": MEAN, "image_std": STD, "do_normalize": True}
    (Path(folder) / "preprocessor_config.json").write_text(json.dumps(content))
    return model
