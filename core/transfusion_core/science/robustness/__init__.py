"""What a trained network rests on: its stages put back, probes of its layers, its pictures cut up, lines to others."""

from transfusion_core.science.robustness.barrier import End, between, crossed, settle, walk
from transfusion_core.science.robustness.blocks import block_shuffled, shuffle_blocks
from transfusion_core.science.robustness.features import features, probed_layers
from transfusion_core.science.robustness.probing import probe_layers
from transfusion_core.science.robustness.resetting import reset_stages, tensors_by_stage

__all__ = [
    "End",
    "between",
    "block_shuffled",
    "crossed",
    "features",
    "probe_layers",
    "probed_layers",
    "reset_stages",
    "settle",
    "shuffle_blocks",
    "tensors_by_stage",
    "walk",
]
