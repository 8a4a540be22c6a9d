"""ONNX: the network as a graph that any runtime takes, tried with ONNX Runtime."""

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import torch

from transfusion_core.science.export.packaged import ExportFailed, Packaged, check_alike

OPSET = 18


def write_onnx(network: Packaged, path: Path) -> float:
    """Write the graph with its contract in its metadata, and run it; how far its logits are from the network's.

    Any number of images may be put through it. ExportFailed, and no file, where it cannot be written or runs otherwise.
    """
    try:
        _write(network, path)
        return _tried(network, path)
    except ExportFailed:
        path.unlink(missing_ok=True)
        raise
    except Exception as error:  # a border: exporter and runtime raise whatever they like
        path.unlink(missing_ok=True)
        told = str(error).strip().split("\n", maxsplit=1)[0]
        raise ExportFailed(f"ONNX: {network.contract.model}: {type(error).__name__}: {told}") from error


def _write(network: Packaged, path: Path) -> None:
    import onnx  # with what it needs half a second, and only exports need it

    example = network.examples()[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's exporter about its own parts
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        torch.onnx.export(
            network,
            (example,),
            str(path),
            input_names=["images"],
            output_names=["logits"],
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            dynamic_shapes={"images": {0: torch.export.Dim("n", min=1, max=65536)}},
            verbose=False,
        )
    graph: Any = onnx.load(str(path))
    onnx.helper.set_model_props(graph, {"transfusion": json.dumps(network.contract.told())})
    onnx.checker.check_model(graph)
    onnx.save(graph, str(path))


def _tried(network: Packaged, path: Path) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    apart = []
    for images in network.examples():
        (logits,) = session.run(["logits"], {"images": images.numpy()})
        apart.append(check_alike(network(images), torch.from_numpy(logits), "ONNX"))
    return max(apart)
