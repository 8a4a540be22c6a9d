"""`transfusion export-model`: a checkpoint file as ONNX or as a MONAI bundle, run before it is handed out."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transfusion_core.errors import InvalidRequest

if TYPE_CHECKING:
    from transfusion_core.science.export.packaged import Packaged

FORMS = ("onnx", "monai")


def export_model(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint of a run, as `client.runs.download` fetches it.")],
    to: Annotated[Path, typer.Argument(help="A folder, made if it is not there.")],
    form: Annotated[list[str] | None, typer.Option(help="onnx or monai; both unless given.")] = None,
) -> None:
    """Turn a trained network into forms that others run. Images in 0..1 go in, logits come out; both are tried."""
    forms = form or list(FORMS)
    if not set(forms) <= set(FORMS):
        raise InvalidRequest(f"expected forms among {', '.join(FORMS)}, got {', '.join(forms)}")
    from transfusion_core.science.export.monai import write_monai  # torch takes seconds to import
    from transfusion_core.science.export.onnx import write_onnx

    network = packaged(checkpoint)
    to.mkdir(parents=True, exist_ok=True)
    if "onnx" in forms:
        _tell(to / "model.onnx", write_onnx(network, to / "model.onnx"))
    if "monai" in forms:
        if (to / "bundle").exists():
            raise InvalidRequest(f"expected no bundle yet, got {to / 'bundle'}; choose another folder, or remove it")
        _tell(to / "bundle", write_monai(network, to / "bundle"))
    (to / "contract.json").write_text(json.dumps(network.contract.told(), indent=1) + "\n")


def packaged(checkpoint: Path) -> "Packaged":
    """The network of a checkpoint file, behind its contract. Raises DataError for a file that is none of ours."""
    from transfusion_core.science.export.packaged import Contract, Packaged
    from transfusion_core.science.training.checkpoint import load_checkpoint
    from transfusion_worker.jobs.checkpoints import About, LoadedCheckpoint

    if not checkpoint.is_file():
        raise InvalidRequest(f"expected a checkpoint file, got {checkpoint}, which is not there")
    weights, metadata = load_checkpoint(checkpoint)
    about, sha256 = About.read(metadata), hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    contract = Contract(
        model=about.model,
        classes=about.classes,
        image_size=about.image_size,
        mean=about.mean,
        std=about.std,
        checkpoint_sha256=sha256,
        dataset=about.dataset,
    )
    return Packaged(LoadedCheckpoint(about, weights, sha256).build(), contract)


def _tell(path: Path, apart: float) -> None:
    typer.echo(f"{path}: its logits are within {apart:.1g} of the network's own")
