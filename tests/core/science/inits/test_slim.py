import pytest
import torch

from transfusion_core.science.inits.initialise import initialise
from transfusion_core.science.inits.matching import WeightsDoNotFit
from transfusion_core.science.models.build import build_random, head_names
from transfusion_core.specs.init import InitSpec


def slim(prefix: str) -> InitSpec:
    return InitSpec(kind="slim", source="s", prefix=prefix)


@pytest.mark.parametrize(
    ("name", "prefix", "starts"),
    [
        ("cbr-tiny", "stage2", ("stage1.", "stage2.")),
        ("resnet18", "layer2", ("conv1.", "bn1.", "layer1.", "layer2.")),
        ("resnet18", "act1", ("conv1.", "bn1.")),
        ("resnet26", "layer2", ("conv1.", "bn1.", "layer1.", "layer2.")),
    ],
)
def test_the_prefix_is_copied_and_the_slim_rest_is_as_built(trained, name: str, prefix: str, starts) -> None:
    init, source = slim(prefix), trained(name)
    model, plain = (build_random(name, classes=2, image_size=32, seed=3, slim=init.slim) for _ in range(2))
    report = initialise(model, init, source=source, source_digest="d", head=head_names(model), seed=3)
    built = plain.state_dict()
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, source[key] if key.startswith(starts) else built[key]), key
    actions = {row.name: row.action for row in report.tensors}
    assert actions == {key: "copied" if key.startswith(starts) else "random" for key in built}
    assert report.init == f"slim({prefix},0.5)"


def test_a_shortcut_that_only_the_source_has_in_a_later_stage_is_no_fault(trained) -> None:
    init = InitSpec(kind="slim", source="s", prefix="act1", width=0.25)
    model = build_random("resnet26", classes=2, image_size=32, seed=0, slim=init.slim)
    source = trained("resnet26")
    assert "layer1.0.downsample.0.weight" in source.keys() - model.state_dict().keys()
    report = initialise(model, init, source=source, source_digest="d", head=head_names(model), seed=0)
    assert len(report.tensors) == len(model.state_dict())


def test_what_does_not_fit_into_the_prefix_is_an_error(trained) -> None:
    model = build_random("cbr-tiny", classes=2, image_size=32, seed=0, slim=slim("stage2").slim)
    source = trained()
    del source["stage1.conv.weight"]
    with pytest.raises(WeightsDoNotFit, match=r"missing: stage1\.conv\.weight"):
        initialise(model, slim("stage2"), source=source, source_digest="d", head=head_names(model), seed=0)
