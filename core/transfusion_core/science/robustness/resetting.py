"""A trained network with one stage put back: which stages its quality hangs on.

Zhang, Bengio and Singer 2019, arXiv 1902.01996: `reinit` gives a stage the values that it had at initialisation,
`rerand` fresh random ones. A stage that a network can do without is robust to both, one that only moved little is
robust to `reinit`.
"""

import copy
from collections.abc import Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from transfusion_core.science.models.layers import stages
from transfusion_core.science.models.prefix import stage_of_tensors, stages_in_order
from transfusion_core.science.training.batches import TrainingData
from transfusion_core.science.training.evaluation import evaluate
from transfusion_core.specs.dataset import Task
from transfusion_core.specs.robustness import Score

NO_STAGES = "the network does not list its modules in forward order: its tensors belong to no stage"


def reset_stages(
    model: nn.Module,
    values: Mapping[str, Tensor],
    data: TrainingData,
    *,
    trial: Literal["reinit", "rerand"],
    task: Task,
    device: torch.device,
) -> Iterator[Score]:
    """Test AUROC with each stage in turn at `values`, tensors by the network's names; the head always stays.

    Batch norm's running statistics belong to their stage and go with it, so a stage is put back as a whole; those of
    the stages above stay what training made them, and see inputs that they do not know. `model` ends as it came.
    """
    groups = tensors_by_stage(model, image_size=data.images.shape[-1])
    if not groups:
        yield Score(trial=trial, reason=NO_STAGES)
    trained = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    try:
        for place, (stage, names) in enumerate(groups.items(), start=1):
            model.load_state_dict(trained | {name: values[name] for name in names})
            found = evaluate(model, data, task=task, split="test", device=device)
            yield Score(trial=trial, layer=stage, stage=place, auroc=found.auroc, reason=found.reason)
    finally:
        model.load_state_dict(trained)


def tensors_by_stage(model: nn.Module, *, image_size: int) -> dict[str, list[str]]:
    """Names of the state dict's tensors of each stage, in forward order, without the head's.

    Empty where the network does not list its modules in forward order (`stages_in_order`).
    """
    if not stages_in_order(copy.deepcopy(model).to("meta"), image_size=image_size):
        return {}
    owners = stage_of_tensors(model)
    return {
        stage: [name for name, owner in owners.items() if owner == place] for place, stage in enumerate(stages(model))
    }
