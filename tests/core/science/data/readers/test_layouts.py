"""Published layouts, each in its true format: tables, names and labels as they are downloaded."""

import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from packs import Shelf
from transfusion_core.errors import DataError
from transfusion_core.science.data.ingest import ingest
from transfusion_core.science.data.readers.layouts import FINDINGS, LAYOUTS, STUDIED, list_layout
from transfusion_core.science.data.samples import Listing
from transfusion_core.science.data.tree import open_tree
from transfusion_core.specs.dataset import LAYOUT_TASKS, DatasetSpec

CHEXPERT = "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Cardiomegaly,Edema,Consolidation,Atelectasis,Pleural Effusion"
ISIC = "image,MEL,NV,BCC"


def spec(kind: str, **options: Any) -> DatasetSpec:
    return DatasetSpec.model_validate({"name": "d", "kind": kind, "location": "file:///d", **options}).resolved()


def listing(folder: Path, kind: str, files: dict[str, str], **options: Any) -> Listing:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    with open_tree(folder) as tree:
        return list_layout(tree, spec(kind, **options))


def told(found: Listing) -> list[tuple[str, Any, str | None, str | None]]:
    assert found.faults == []
    return [(sample.file, sample.label, sample.split, sample.patient) for sample in found.samples]


def test_every_kind_has_its_layout_and_its_task() -> None:
    assert set(LAYOUTS) == set(LAYOUT_TASKS)


def chexpert(folder: Path, **options: Any) -> Listing:
    train = "CheXpert-v1.0-small/train/patient00001/study1"
    return listing(folder, "chexpert", {
        "train.csv": f"{CHEXPERT}\n{train}/view1_frontal.jpg,Female,68,Frontal,AP,1.0,,-1.0,0.0,1.0,\n"
                     f"{train}/view2_lateral.jpg,Female,68,Lateral,,,1.0,,,,-1.0\n",
        "valid.csv": f"{CHEXPERT}\nCheXpert-v1.0-small/valid/patient64541/study1/view1_frontal.jpg,Male,73,Frontal,AP,"
                     "0.0,1.0,0.0,0.0,0.0,0.0\n",
        "train/patient00001/study1/view1_frontal.jpg": "", "train/patient00001/study1/view2_lateral.jpg": "",
        "valid/patient64541/study1/view1_frontal.jpg": "",
    }, **options)  # fmt: skip


def test_chexpert_has_paths_patients_and_uncertain_labels(tmp_path: Path) -> None:
    found = chexpert(tmp_path)
    assert found.classes == STUDIED
    first, second, third = told(found)
    assert first[0] == "train/patient00001/study1/view1_frontal.jpg"
    assert (first[2:], third[2:]) == (("train", "patient00001"), ("val", "patient64541"))
    atelectasis, cardiomegaly, consolidation, edema, effusion = first[1]
    assert (atelectasis, consolidation) == (1, 0)
    assert all(map(math.isnan, (cardiomegaly, edema, effusion)))  # not mentioned, uncertain, not mentioned
    assert second[1][1] == 1
    assert third[1] == (0, 1, 0, 0, 0)


@pytest.mark.parametrize(("uncertain", "edema"), [("zeros", 0), ("ones", 1)])
def test_chexperts_uncertain_labels_may_be_taken_for_either(tmp_path: Path, uncertain: str, edema: int) -> None:
    found = chexpert(tmp_path, uncertain=uncertain, labels=["Edema", "Consolidation"], views="frontal")
    assert found.classes == ["Edema", "Consolidation"]
    assert [sample.label for sample in found.samples] == [(edema, 0), (0, 0)]


def test_chexperts_views_may_be_chosen(tmp_path: Path) -> None:
    assert [sample.row for sample in chexpert(tmp_path, views="lateral").samples] == [2]


def films(folder: Path, *there: str, listed: list[str]) -> Listing:
    """A CheXpert table that lists some films, and the files that are there."""
    rows = [f"{path},F,1,Frontal,AP,,1.0,,,," for path in listed]
    table = "\n".join([CHEXPERT, *rows])
    return listing(folder, "chexpert", {"train.csv": table, **dict.fromkeys(there, "")}, labels=["Cardiomegaly"])


LISTED = [f"CheXpert-v1.0-small/train/patient{patient}/study1/view1_frontal.jpg" for patient in ("00001", "00099")]


@pytest.mark.parametrize("kept", ["CheXpert-v1.0-small/train/", "train/", "", "data/CheXpert-v1.0-small/train/", "x/"])
def test_the_datasets_own_folders_may_be_missing_and_others_may_lie_around(tmp_path: Path, kept: str) -> None:
    there = [kept + path.removeprefix("CheXpert-v1.0-small/train/") for path in LISTED]
    assert [file for file, *_ in told(films(tmp_path, *there, listed=LISTED))] == there


@pytest.mark.parametrize("other", ["train/study1/view1_frontal.jpg", "study1/view1_frontal.jpg", "view1_frontal.jpg"])
@pytest.mark.parametrize("listed", [LISTED, LISTED[1:]])
def test_a_film_that_is_missing_is_never_taken_for_another(tmp_path: Path, other: str, listed: list[str]) -> None:
    found = films(tmp_path, other, LISTED[0].partition("/")[2], listed=listed)
    ((file, row, message),) = [(fault.file, fault.row, fault.message) for fault in found.faults]
    assert (file, row) == (LISTED[1], len(listed))
    assert message == "train.csv: there is no such image"
    assert [sample.patient for sample in found.samples] == ["patient00001"] * (len(listed) - 1)


def test_folders_are_left_out_of_a_whole_table_alike(tmp_path: Path) -> None:
    """A film that lies in another split's folder, or under another root, is not the one that is listed."""
    swapped = "valid/patient00099/study1/view1_frontal.jpg"
    found = films(tmp_path, LISTED[0].partition("/")[2], swapped, listed=LISTED)
    assert [fault.file for fault in found.faults] == LISTED[1:]
    others = [path.replace("small", "large") for path in LISTED]
    found = films(tmp_path / "other", LISTED[0].partition("/")[2], listed=[LISTED[0], *others])
    assert [fault.file for fault in found.faults] == others


def test_links_are_told_and_not_followed(tmp_path: Path) -> None:
    """A row's image once, by its row; every other link by its own name."""
    (tmp_path / "away").mkdir()
    for name in ("1.png", "2.png", "3.png"):
        (tmp_path / "away" / name).write_bytes(b"")
    root = tmp_path / "set"
    root.mkdir()
    (root / "1.png").symlink_to(tmp_path / "away" / "1.png")
    (root / "unlisted.png").symlink_to(tmp_path / "away" / "3.png")
    (root / "folder").symlink_to(tmp_path / "away")
    (root / ".hidden.png").symlink_to(tmp_path / "away" / "1.png")
    found = listing(root, "aptos", {"train.csv": "id_code,diagnosis\n1,0\n2,1\n4,1\n", "4.png": ""})
    assert [sample.file for sample in found.samples] == ["4.png"]
    assert [(fault.file, fault.row, fault.message) for fault in found.faults] == [
        ("1", 1, "train.csv: the image is a link, and links are not followed"),
        ("2", 2, "train.csv: there is no such image"),
        ("folder", None, "it is a link, and links are not followed"),
        ("unlisted.png", None, "it is a link, and links are not followed"),
    ]


def test_a_table_that_is_a_link_is_told(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "table").write_text("id_code,diagnosis\n1,0\n")
    (tmp_path / "set" / "train.csv").symlink_to(tmp_path / "table")
    with pytest.raises(DataError, match=r"no CSV file; train\.csv is a link, and links are not followed"):
        listing(tmp_path / "set", "aptos", {"1.png": ""})


def test_a_path_that_leads_out_is_no_root(tmp_path: Path) -> None:
    (fault,) = films(tmp_path, "patient1/a.jpg", listed=["../patient1/a.jpg"]).faults
    assert "no file inside" in fault.message


def test_a_bare_name_with_folders_before_it_is_taken_as_it_is_written(tmp_path: Path) -> None:
    files = {"train.csv": "id_code,diagnosis\na/1,0\nb/1,1\n", "x/a/1.png": "", "1.png": ""}
    found = listing(tmp_path, "aptos", files)
    assert [sample.file for sample in found.samples] == ["x/a/1.png"]
    assert [(fault.file, fault.row) for fault in found.faults] == [("b/1", 2)]


def test_chestxray14_has_findings_between_bars_and_lists_of_its_splits(tmp_path: Path) -> None:
    header = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position"
    files = {
        "Data_Entry_2017_v2020.csv": f"{header}\n00000001_000.png,Cardiomegaly|Effusion,0,1,57,M,PA\n"
        "00000002_000.png,No Finding,0,2,80,M,PA\n",
        "images_001/images/00000001_000.png": "",
        "images_002/images/00000002_000.png": "",
    }
    drawn = told(listing(tmp_path, "chestxray14", files))
    assert [(split, patient) for *_, split, patient in drawn] == [(None, "1"), (None, "2")]
    lists = {"train_val_list.txt": "00000001_000.png\n", "test_list.txt": "00000002_000.png\n"}
    (first, second) = told(listing(tmp_path, "chestxray14", lists))
    assert first[0] == "images_001/images/00000001_000.png"
    assert [FINDINGS[at] for at, value in enumerate(first[1]) if value] == ["Cardiomegaly", "Effusion"]
    assert (first[2], second[1], second[2]) == ("train", (0,) * 14, "test")


def test_eyepacs_knows_its_patients_by_their_eyes(tmp_path: Path) -> None:
    files = {
        "trainLabels.csv": "image,level\n10_left,0\n10_right,3\n",
        "retinopathy_solution.csv": "image,level,Usage\n1_left,1,Private\n",
    }
    files |= dict.fromkeys(("train/10_left.jpeg", "train/10_right.jpeg", "test/1_left.jpeg"), "")
    assert told(listing(tmp_path, "eyepacs", files)) == [
        ("train/10_left.jpeg", 0, "train", "10"),
        ("train/10_right.jpeg", 3, "train", "10"),
        ("test/1_left.jpeg", 1, "test", "1"),
    ]


def test_aptos_takes_tables_with_grades_alone(tmp_path: Path) -> None:
    files = {"train.csv": "id_code,diagnosis\n000c1434d8d7,2\n", "test.csv": "id_code\n0005cfc8afb6\n"}
    files |= {"train_images/000c1434d8d7.png": "", "test_images/0005cfc8afb6.png": ""}
    assert told(listing(tmp_path, "aptos", files)) == [("train_images/000c1434d8d7.png", 2, "train", None)]


def test_idrid_uses_the_same_names_in_both_splits(tmp_path: Path) -> None:
    header = "Image name,Retinopathy grade,Risk of macular edema ,,,,,,,,,"
    images = "1. Original Images"
    files = {
        "2. Groundtruths/a. IDRiD_Disease Grading_Training Labels.csv":
            f"{header}\nIDRiD_001,3,2,,,,,,,,,\n{',' * 11}\n{',' * 11}\n",
        "2. Groundtruths/b. IDRiD_Disease Grading_Testing Labels.csv": f"{header}\nIDRiD_001,4,0\n",
        f"{images}/a. Training Set/IDRiD_001.jpg": "",
        f"{images}/b. Testing Set/IDRiD_001.jpg": "",
    }  # fmt: skip
    assert told(listing(tmp_path, "idrid", files)) == [
        (f"{images}/a. Training Set/IDRiD_001.jpg", 3, "train", None),
        (f"{images}/b. Testing Set/IDRiD_001.jpg", 4, "test", None),
    ]


def test_messidor_leaves_out_what_nobody_could_grade(tmp_path: Path) -> None:
    header = "image_id,adjudicated_dr_grade,adjudicated_dme,adjudicated_gradable"
    files = {"messidor_data.csv": f"{header}\n20051020_43808_0100_PP.png,0,0,1\nIM000001.jpg,,,0\n"}
    files |= {"IMAGES/20051020_43808_0100_PP.png": "", "IMAGES/IM000001.JPG": ""}
    assert told(listing(tmp_path, "messidor2", files)) == [("IMAGES/20051020_43808_0100_PP.png", 0, None, None)]


def test_ham10000_keeps_images_of_one_lesion_together_and_lies_in_archives(tmp_path: Path) -> None:
    for part, image in (("1", "ISIC_0027419"), ("2", "ISIC_0025030")):
        with zipfile.ZipFile(tmp_path / f"HAM10000_images_part_{part}.zip", "w") as archive:
            archive.writestr(f"{image}.jpg", b"")
    table = "lesion_id,image_id,dx,dx_type,age,sex,localization\n"
    table += "HAM_0000118,ISIC_0027419,bkl,histo,80.0,male,scalp\nHAM_0000118,ISIC_0025030,nv,histo,80.0,male,scalp\n"
    found = listing(tmp_path, "ham10000", {"HAM10000_metadata.csv": table})
    assert found.classes == ["bkl", "nv"]
    assert told(found) == [
        ("ISIC_0027419.jpg", 0, None, "HAM_0000118"),
        ("ISIC_0025030.jpg", 1, None, "HAM_0000118"),
    ]


def test_isic_has_a_column_of_each_class_and_lesions_in_another_table(tmp_path: Path) -> None:
    files = {
        "ISIC2018_Task3_Training_GroundTruth/ISIC2018_Task3_Training_GroundTruth.csv":
            f"{ISIC}\nISIC_0024306,0.0,1.0,0.0\nISIC_0024307,1.0,0.0,0.0\n",
        "ISIC2018_Task3_Test_GroundTruth.csv": f"{ISIC}\nISIC_0034524,0,0,1\n",
        "ISIC2018_Task3_Training_LesionGroupings.csv": "image,lesion_id\nISIC_0024306,HAM_0000550\n",
    }  # fmt: skip
    files |= dict.fromkeys((f"input/ISIC_{number}.jpg" for number in ("0024306", "0024307", "0034524")), "")
    found = listing(tmp_path, "isic", files)
    assert found.classes == ["BCC", "MEL", "NV"]
    assert told(found) == [
        ("input/ISIC_0024306.jpg", 2, "train", "HAM_0000550"),
        ("input/ISIC_0024307.jpg", 1, "train", "alone: input/ISIC_0024307.jpg"),
        ("input/ISIC_0034524.jpg", 0, "test", "alone: input/ISIC_0034524.jpg"),
    ]


def test_a_layouts_columns_are_found_with_spaces_around_their_names(tmp_path: Path) -> None:
    files = {"x training labels.csv": "Image name ,ID, Retinopathy grade\n1,x,3\n", "1.jpg": ""}
    assert told(listing(tmp_path, "idrid", files)) == [("1.jpg", 3, "train", None)]


@pytest.mark.parametrize(
    ("kind", "table", "row", "message"),
    [
        ("eyepacs", "trainLabels.csv", "image,level\n11_left,0", "trainLabels.csv: there is no such image"),
        ("eyepacs", "trainLabels.csv", "image,level\n10_left,five", "the grade is 'five'"),
        ("eyepacs", "trainLabels.csv", "image,level\n10_left,0,1", "more or fewer fields"),
        ("eyepacs", "trainLabels.csv", "image,level\n../10_left,0", "no file inside"),
        ("eyepacs", "trainLabels.csv", "image,level\nother,0", "no patient can be told from 'other'"),
        ("aptos", "train.csv", "id_code,diagnosis\n10_left,0\n10_left,1", "named by row 1 of train.csv already"),
        ("aptos", "train.csv", "id_code,diagnosis\ntwice,0", "2 images have this name"),
        ("ham10000", "HAM10000_metadata", "image_id,dx,lesion_id\n10_left,,L", "the diagnosis 'dx' is empty"),
        ("isic", "A_Training_GroundTruth.csv", f"{ISIC}\n10_left,1,1,0", "expected one class that is 1"),
        ("chestxray14", "Data_Entry_2017.csv", "Image Index,Finding Labels,Patient ID\n10_left,Cold,1",
         "there is no finding 'Cold'"),
        ("chexpert", "train.csv", f"{CHEXPERT}\n10_left,F,1,Frontal,AP,,2.0,,,,", "a label is '2.0'"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_used_is_a_fault_with_its_table_and_number(
    tmp_path: Path, kind: str, table: str, row: str, message: str
) -> None:
    images = dict.fromkeys(("10_left.png", "other.png", "a/twice.png", "b/twice.png"), "")
    found = listing(tmp_path, kind, {table: f"{row}\n", **images})
    (fault,) = found.faults
    assert message in fault.message
    assert fault.row == row.count("\n")


def test_of_images_that_differ_by_their_suffix_the_tables_own_is_taken(tmp_path: Path) -> None:
    files = {"messidor_data.csv": "image_id,adjudicated_dr_grade,adjudicated_gradable\nIM1.jpg,2,1\n"}
    files |= {"IM1.jpg": "", "IM1.png": "", "old/XIM1.jpg": ""}
    assert told(listing(tmp_path, "messidor2", files)) == [("IM1.jpg", 2, None, None)]


def test_an_image_in_no_list_is_a_fault(tmp_path: Path) -> None:
    files = {"Data_Entry_2017.csv": "Image Index,Finding Labels,Patient ID\na.png,No Finding,1\n", "a.png": ""}
    (fault,) = listing(tmp_path, "chestxray14", {**files, "test_list.txt": "b.png\n"}).faults
    assert "in none of train_val_list.txt, test_list.txt" in fault.message


def test_an_image_that_may_lie_in_an_archive_of_another_kind_is_told_so(tmp_path: Path) -> None:
    header = "Image Index,Finding Labels,Patient ID"
    files = {"Data_Entry_2017.csv": f"{header}\n00000001_000.png,No Finding,1\n", "images_001.tar.gz": ""}
    (fault,) = listing(tmp_path, "chestxray14", files).faults
    assert fault.message.endswith("no such image (of archives only zip is opened: unpack images_001.tar.gz)")


def test_a_dataset_without_its_table_is_told_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"train\*\.csv or valid\*\.csv.*'id_code', 'diagnosis'.*found \['labels.csv'\]"
    ):
        listing(tmp_path, "aptos", {"labels.csv": "id_code,diagnosis\n"})
    with pytest.raises(DataError, match=r"there is no label 'Oedema'.*did you mean 'Edema'"):
        chexpert(tmp_path, labels=["Oedema"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"kind": "csv", "uncertain": "ones"}, "'uncertain' is for kind chexpert"),
        ({"kind": "aptos", "labels": ["x"]}, "'labels' is for kind chexpert or chestxray14"),
        ({"kind": "aptos", "task": "multilabel"}, "a dataset of kind 'aptos' is ordinal"),
        ({"kind": "aptos", "columns": {}}, "are for kind 'csv'"),
    ],
)
def test_options_are_for_the_kinds_that_know_them(words: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DatasetSpec.model_validate({"name": "d", "location": "file:///d", **words})


def test_a_published_layout_goes_through_to_a_pack_with_its_patients_on_one_side(
    tmp_path: Path, png: Callable[..., bytes]
) -> None:
    rows = ["image,level"]
    (tmp_path / "set" / "train").mkdir(parents=True)
    for number in range(40):
        for eye in ("left", "right"):
            (tmp_path / "set" / "train" / f"{number}_{eye}.jpeg").write_bytes(
                png(number * 2 + (eye == "left"), form="JPEG")
            )
            rows.append(f"{number}_{eye},{number % 2}")
    (tmp_path / "set" / "trainLabels.csv").write_text("\n".join(rows))
    done = ingest(spec("eyepacs"), source=tmp_path / "set", keep=Shelf())
    assert (done.task, done.images, done.classes) == ("ordinal", 80, ["0", "1"])
    assert all(count % 2 == 0 for count in done.splits.values())
