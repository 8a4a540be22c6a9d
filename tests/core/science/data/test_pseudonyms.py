"""What is stored for patients: nothing by which they could be told, and the same wherever the salt is."""

import hmac

import pytest

from transfusion_core.science.data.pseudonyms import Pseudonyms
from transfusion_core.science.data.samples import Listing, Sample

SALTED = Pseudonyms(b"s" * 32)


def test_a_patient_is_a_keyed_hash_which_a_team_can_make_of_its_own_ids() -> None:
    assert SALTED.of("patient00123") == hmac.new(b"s" * 32, b"patient00123", "sha256").hexdigest()[:32]
    assert len({SALTED.of("1"), SALTED.of("2"), Pseudonyms().of("1"), Pseudonyms().of("1")}) == 4


@pytest.mark.parametrize(
    ("name", "patient", "stays"),
    [
        ("train/patient00123/study1/view1.jpg", "patient00123", "train/*/study1/view1.jpg"),
        ("images_001/00000013_005.png", "13", "images_001/*_005.png"),
        ("10_left.jpeg", "10", "*_left.jpeg"),
        ("0.png", "0", "*.png"),
        ("Müller, Anna/Müller, Anna 2.png", "Müller, Anna", "*/* 2.png"),
        ("a.b/axb.png", "a.b", "*/axb.png"),
        ("130.png", "13", "130.png"),
        ("ISIC_0024306.jpg", "HAM_0000118", "ISIC_0024306.jpg"),
    ],
)
def test_an_id_that_stands_in_a_name_as_a_word_goes(name: str, patient: str, stays: str) -> None:
    assert SALTED.within(name, patient) == stays.replace("*", SALTED.of(patient)[:12])


def test_names_of_files_without_a_patient_stay() -> None:
    listing = Listing([Sample("a.png", 0), Sample("7.png", 0, patient="7")], ["a"])
    first, second = SALTED.named(listing).samples
    assert (first.name, second.name, second.file) == (None, f"{SALTED.of('7')[:12]}.png", "7.png")
