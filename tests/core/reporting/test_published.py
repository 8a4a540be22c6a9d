"""Published values by the names that users give to the same things."""

import pytest

from transfusion_core.reporting.published import Published, gain, speed_up, table_2, table_3


@pytest.mark.parametrize("label", ["effusion", "Pleural Effusion", "pleural_effusion"])
def test_table_2_knows_a_label_by_any_of_its_names(label: str) -> None:
    assert table_2("resnet50", "random", label) == Published(pytest.approx(0.887), "t")


def test_what_was_not_published_is_none() -> None:
    assert table_2("resnet50", "random", "hernia") is None
    assert table_2("resnet50", "mean_var", "edema") is None
    assert table_3("cbr-tiny", "random") is None
    assert table_3("resnet50", "mean_var") is None
    assert speed_up("resnet50", "random") is None
    assert speed_up("cbr-tiny", "pretrained") is None


def test_the_speed_up_is_that_of_figure_5() -> None:
    assert speed_up("resnet50", "pretrained") == Published(pytest.approx(69.3 / 8.3), "d")
    assert table_3("resnet50", "pretrained") == Published(pytest.approx(0.946), "t")


def test_the_gain_of_chests_is_the_mean_over_their_labels_and_other_images_have_none() -> None:
    labels = ["Atelectasis", "edema", "hernia", "macro"]
    assert gain("multilabel", "resnet50", "all", labels) == Published(pytest.approx((0.0024 + 0.0055) / 2), "t")
    assert gain("multilabel", "resnet50", "all", ["hernia"]) is None
    assert gain("multilabel", "resnet50", 5000, labels) is None
    assert gain("multiclass", "resnet50", "all", labels) is None
    assert gain("ordinal", "resnet50", 200, ()) is None
