"""Networks in other forms: what is written is run, and gives what the network gives."""

import json
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from transfusion_client.cli.app import build_app
from transfusion_core.errors import DataError, InvalidRequest
from transfusion_core.science.export.monai import write_monai
from transfusion_core.science.export.onnx import write_onnx
from transfusion_core.science.export.packaged import Contract, ExportFailed, Packaged, check_alike
from transfusion_core.science.models.build import build_random
from transfusion_core.science.training.checkpoint import save_checkpoint
from transfusion_worker.exporting import export_model
from transfusion_worker.jobs.checkpoints import About

MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.3, 0.25]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's checkpoint file."""
    model = build_random("cbr-tiny", classes=3, image_size=24, seed=1)
    about = About(model="cbr-tiny", classes=3, image_size=24, step=2, dataset="d", mean=MEAN, std=STD)
    path = tmp_path_factory.mktemp("checkpoint") / "final.safetensors"
    save_checkpoint(path, model.state_dict(), about.metadata())
    return path


def _network(inner: nn.Module, **more: Any) -> Packaged:
    words = {"model": "made", "classes": 3, "image_size": 8, "mean": MEAN, "std": STD}
    return Packaged(inner, Contract(**{**words, "checkpoint_sha256": "0", "dataset": "d", **more}))


def test_both_forms_take_pixels_and_give_the_logits_of_the_run(checkpoint: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(build_app(), ["export-model", str(checkpoint), str(tmp_path / "made")])
    assert done.exit_code == 0, done.output
    assert done.output.count("its logits are within") == 2
    model = build_random("cbr-tiny", classes=3, image_size=24, seed=1).eval()
    images = torch.rand(7, 3, 24, 24)
    with torch.no_grad():
        wanted = model((images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1))
    session = onnxruntime.InferenceSession(str(tmp_path / "made/model.onnx"), providers=["CPUExecutionProvider"])
    assert torch.allclose(torch.from_numpy(session.run(None, {"images": images.numpy()})[0]), wanted, atol=1e-4)
    contract = json.loads((tmp_path / "made/contract.json").read_text())
    assert contract["input"] == {"name": "images", "shape": ["n", 3, 24, 24], "dtype": "float32", "range": [0, 1]}
    kept = {each.key: each.value for each in onnx.load(str(tmp_path / "made/model.onnx")).metadata_props}
    assert json.loads(kept["transfusion"]) == contract
    bundle = tmp_path / "made/bundle"
    with pytest.warns(FutureWarning, match=r"torch\.export"):
        script = torch.jit.load(str(bundle / "models/model.ts"))  # type: ignore[no-untyped-call]
    assert torch.allclose(script(images), wanted, atol=1e-5)
    metadata = json.loads((bundle / "configs/metadata.json").read_text())
    assert metadata["network_data_format"]["inputs"]["image"]["spatial_shape"] == [24, 24]
    assert metadata["transfusion"] == contract
    assert json.loads((bundle / "configs/inference.json").read_text())["run"]


def test_one_form_alone_and_no_form_that_nobody_knows(checkpoint: Path, tmp_path: Path) -> None:
    export_model(checkpoint, tmp_path, form=["monai"])
    assert not (tmp_path / "model.onnx").exists()
    with pytest.raises(InvalidRequest, match="no bundle yet"):
        export_model(checkpoint, tmp_path, form=["monai"])
    with pytest.raises(InvalidRequest, match="forms among onnx, monai, got tflite"):
        export_model(checkpoint, tmp_path, form=["tflite"])


def test_what_is_no_checkpoint_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="not there"):
        export_model(tmp_path / "none", tmp_path)
    file = tmp_path / "words.safetensors"
    file.write_text("words")
    with pytest.raises(DataError, match="safetensors"):
        export_model(file, tmp_path / "made")
    save_checkpoint(file, {"a": torch.zeros(1)}, {})
    with pytest.raises(DataError, match="written by a run"):
        export_model(file, tmp_path / "made")
    assert not (tmp_path / "made").exists()


class Untraceable(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("not this one\nnor that")


class Batched(nn.Module):
    """Right for two images alone."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((1, 2, 3)).reshape(-1, 1).repeat(1, 3) + float(images.shape[0])


def test_what_cannot_be_written_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ExportFailed, match="ONNX: made: "):
        write_onnx(_network(Untraceable()), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ExportFailed, match=r"MONAI: made: RuntimeError: not this one$"):
        write_monai(_network(Untraceable()), tmp_path / "bundle")


def test_a_form_that_gives_something_else_is_not_handed_out(tmp_path: Path) -> None:
    with pytest.raises(ExportFailed, match="away from the network's own"):
        write_monai(_network(Batched()), tmp_path / "bundle")


def test_logits_are_held_against_each_other() -> None:
    assert check_alike(torch.ones(2, 3), torch.ones(2, 3), "x") == 0
    with pytest.raises(ExportFailed, match=r"expected logits \(2, 3\), got \(2, 4\)"):
        check_alike(torch.ones(2, 3), torch.ones(2, 4), "x")
    with pytest.raises(ExportFailed, match="away"):
        check_alike(torch.ones(2, 3), torch.full((2, 3), float("nan")), "x")
