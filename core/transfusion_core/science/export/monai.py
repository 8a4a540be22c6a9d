"""A MONAI bundle: the folder that MONAI's tools run, with the network as TorchScript, its contract and an inference.

https://docs.monai.io/en/stable/mb_specification.html
"""

import json
import warnings
from pathlib import Path
from typing import Any

import torch

from transfusion_core import __version__
from transfusion_core.science.export.packaged import ExportFailed, Packaged, check_alike

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
MONAI = "1.5.0"
CHANNELS = {1: {"0": "grey"}, 3: {"0": "red", "1": "green", "2": "blue"}}
_EIGHT_BITS = "Image.fromarray(((numpy.asarray(image).clip(0, 65535).astype('uint32') + 128) // 257).astype('uint8'))"
_ON_BLACK = "Image.alpha_composite(Image.new('RGBA', image.size, (0, 0, 0, 255)), image.convert('RGBA')).convert('RGB')"
_PLAIN = f"{_EIGHT_BITS} if image.mode.startswith('I') else {_ON_BLACK} if image.has_transparency_data else image"
"""What `images.py` makes of every mode, in the words of Pillow: whoever runs the bundle has none of our code."""
_PLANES = "image[None].byte().expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)"
_RESIZED = (
    "torch.nn.functional.interpolate({planes}, size={size}, mode='bilinear', antialias=True)[0, :{channels}].float()"
)
"""What `resizing.py` does. MONAI's own resizing blurs beforehand, which moved pixels by up to 49 of 255."""


def write_monai(network: Packaged, folder: Path, *, class_names: list[str] | None = None) -> float:
    """Write the bundle and run its network; how far its logits are from the network's own.

    Raises ExportFailed where it cannot be written or runs otherwise, and FileExistsError for a folder that is there.
    """
    for part in ("models", "configs", "docs"):
        (folder / part).mkdir(parents=True)
    script = folder / "models" / "model.ts"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is on its way out in torch; MONAI's bundles still want it
            traced = torch.jit.trace(network, network.examples()[0])  # type: ignore[no-untyped-call]
            torch.jit.save(traced, str(script))
            written = torch.jit.load(str(script))  # type: ignore[no-untyped-call]
    except Exception as error:  # a border: the tracer raises whatever it likes
        told = str(error).strip().split("\n", maxsplit=1)[0]
        raise ExportFailed(f"MONAI: {network.contract.model}: {type(error).__name__}: {told}") from error
    apart = max(check_alike(network(images), written(images), "MONAI") for images in network.examples())
    _json(folder / "configs" / "metadata.json", _metadata(network, class_names))
    _json(folder / "configs" / "inference.json", _inference(network))
    (folder / "docs" / "README.md").write_text(_words(network))
    return apart


def _json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")


def _metadata(network: Packaged, class_names: list[str] | None) -> dict[str, Any]:
    contract = network.contract
    names = class_names or [f"class {number}" for number in range(contract.classes)]
    image = {
        "type": "image",
        "format": "magnitude",
        "modality": "n/a",
        "num_channels": contract.channels,
        "spatial_shape": [contract.image_size, contract.image_size],
        "dtype": "float32",
        "value_range": [0, 1],
        "is_patch_data": False,
        "channel_def": CHANNELS.get(contract.channels, {}),
    }
    logits = {
        "type": "logits",
        "format": "classes",
        "num_channels": contract.classes,
        "spatial_shape": [1],
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": False,
        "channel_def": {str(number): name for number, name in enumerate(names)},
    }
    return {
        "schema": SCHEMA,
        "version": __version__,
        "monai_version": MONAI,
        "pytorch_version": torch.__version__.partition("+")[0],
        "numpy_version": "2.0.0",
        "required_packages_version": {"pillow": "10.1.0", "pytorch-ignite": "0.5.0"},
        "task": "classification",
        "description": f"{contract.model}, trained by Transfusion",
        "authors": "",
        "copyright": "",
        "data_source": f"dataset of digest {contract.dataset}",
        "intended_use": "Research only.",
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": logits}},
        "transfusion": contract.told(),
    }


def _inference(network: Packaged) -> dict[str, Any]:
    contract, keys = network.contract, ["image"]
    size = [contract.image_size, contract.image_size]
    grey = contract.channels == 1
    converter = f"$lambda image: ({_PLAIN}).convert('{'L' if grey else 'RGB'}')"
    reader = {"_target_": "PILReader", "converter": converter}
    resized = _RESIZED.format(planes=_PLANES, size=size, channels=contract.channels)
    transforms = [
        {"_target_": "LoadImaged", "keys": keys, "reader": "@reader"},
        {"_target_": "EnsureChannelFirstd", "keys": keys, **({"channel_dim": "no_channel"} if grey else {})},
        {"_target_": "Transposed", "keys": keys, "indices": [0, 2, 1]},
        {"_target_": "Lambdad", "keys": keys, "func": f"$lambda image: {resized}"},
        {
            "_target_": "ScaleIntensityRanged",
            "keys": keys,
            "a_min": 0,
            "a_max": 255,
            "b_min": 0,
            "b_max": 1,
            "clip": True,
        },
    ]
    return {
        "imports": ["$import glob", "$import numpy", "$import torch", "$from PIL import Image"],
        "bundle_root": ".",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "dataset_dir": "images",
        "output_dir": "predictions",
        "datalist": "$sorted(glob.glob(@dataset_dir + '/*'))",
        "network_def": "$torch.jit.load(@bundle_root + '/models/model.ts', map_location=@device)",
        "network": "$@network_def.eval()",
        "reader": reader,
        "preprocessing": {"_target_": "Compose", "transforms": transforms},
        "dataset": {"_target_": "Dataset", "data": "$[{'image': i} for i in @datalist]", "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 8},
        "inferer": {"_target_": "SimpleInferer"},
        "saver": {
            "_target_": "ClassificationSaver",
            "output_dir": "@output_dir",
            "batch_transform": "$lambda batch: [each['image'].meta for each in batch]",
            "output_transform": "$lambda output: [each['pred'] for each in output]",
        },
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "val_handlers": ["@saver"],
        },
        "run": ["$@evaluator.run()"],
    }


def _words(network: Packaged) -> str:
    told = network.contract.told()
    takes, gives = told["input"]["shape"], told["output"]["shape"]
    return (
        f"# {network.contract.model}\n\nTrained by Transfusion. Takes float32 images {takes} in 0..1, normalises them "
        f"itself, gives logits {gives}.\n\nOf picture files in `images` (PNG, JPEG, TIFF, BMP, WebP; not DICOM) such "
        "images are made as Transfusion makes them, and the logits written to `predictions/predictions.csv`, by\n\n"
        "    python -m monai.bundle run --config_file configs/inference.json --meta_file configs/metadata.json\n"
    )
