import pytest
import torch

from transfusion_core.science.models.build import (
    ImageSizeUnfit,
    ModelUnknown,
    build,
    build_random,
    first_convs,
    gabor_conv,
    head_names,
    in_modules,
)


@pytest.mark.parametrize(
    ("name", "size", "channels"),
    [
        ("cbr-tiny", 28, 1),
        ("test_resnet", 32, 1),
        ("test_vit", 32, 3),
        ("mobilenetv2_100", 32, 3),
    ],
)
def test_every_kind_of_network_gives_logits_at_the_size_asked_for(name: str, size: int, channels: int) -> None:
    model = build(name, classes=5, channels=channels, image_size=size).eval()
    with torch.no_grad():
        assert model(torch.zeros(2, channels, size, size)).shape == (2, 5)


def test_inception_has_no_auxiliary_head() -> None:
    with torch.device("meta"):
        model = build("inception_v3", classes=1000, image_size=299)
    assert sum(tensor.numel() for tensor in model.parameters()) == 23_834_568


def test_an_unknown_name_is_told_with_what_there_is() -> None:
    with pytest.raises(ModelUnknown, match="no model is called 'cbr-huge': expected one of cbr-large-t"):
        build("cbr-huge", classes=2, image_size=64)


def test_images_too_small_for_the_network_are_refused() -> None:
    with pytest.raises(ImageSizeUnfit, match="inception_v3 needs images of 75 pixels or more, not 64"):
        build("inception_v3", classes=2, image_size=64)


def test_sizes_that_patches_do_not_divide_are_refused() -> None:
    with pytest.raises(ImageSizeUnfit, match="multiples of 16, not 50"):
        build("vit_tiny_patch16_224", classes=2, image_size=50)


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("cbr-tiny", ("head",)),
        ("resnet18", ("fc",)),
        ("convnext_atto", ("head.fc",)),
        ("levit_128", ("head.linear", "head_dist.linear")),
    ],
)
def test_the_heads_tensors_are_those_that_change_with_the_number_of_classes(name: str, head: tuple[str, ...]) -> None:
    with torch.device("meta"):
        two, three = (build(name, classes=classes, image_size=224) for classes in (2, 3))
    assert head_names(two) == head
    theirs = three.state_dict()
    changed = {key for key, tensor in two.state_dict().items() if tensor.shape != theirs[key].shape}
    assert changed == {key for key in theirs if in_modules(key, head)}


def test_a_name_that_only_begins_like_the_head_is_no_part_of_it() -> None:
    assert in_modules("head.weight", ("head",))
    assert not in_modules("head_norm.weight", ("head",))


def test_a_seed_fixes_every_weight_and_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    one, same, other = (build_random("cbr-tiny", classes=3, image_size=32, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), same.state_dict().values(), strict=True))
    assert not torch.equal(one.get_parameter("stage1.conv.weight"), other.get_parameter("stage1.conv.weight"))


@pytest.mark.parametrize(
    ("name", "conv"),
    [
        ("cbr-tiny", "stage1.conv"),
        ("resnet50", "conv1"),
        ("inception_v3", None),  # 3x3
        ("vit_tiny_patch16_224", None),  # a patch embedding: the stride is the kernel
        ("levit_128", None),  # 3x3 stem
    ],
)
def test_gabor_filters_fit_only_a_true_first_convolution_of_5x5_or_more(name: str, conv: str | None) -> None:
    with torch.device("meta"):
        model = build(name, classes=2, image_size=299 if name == "inception_v3" else 224)
    assert gabor_conv(model) == conv


def test_a_network_without_one_first_convolution_takes_no_gabor_filters() -> None:
    bare = torch.nn.Linear(2, 2)
    assert first_convs(bare) == ()
    assert gabor_conv(bare) is None
