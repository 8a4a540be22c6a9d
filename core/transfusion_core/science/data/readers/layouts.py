"""Published datasets as they are downloaded: their own tables, names of files, and words for labels.

A layout says which tables it has, and what a row of one means. Images are found wherever they lie, in zip archives
too, by their path as the table gives it. Patients are read where the layout knows them, so that drawn splits keep each
on one side.
"""

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import PurePosixPath

from transfusion_core.errors import DataError
from transfusion_core.science.data.paths import is_inside, is_plain
from transfusion_core.science.data.readers.tables import (
    CsvTable,
    Row,
    RowFault,
    check_whole,
    coded,
    grade_of,
    open_table,
)
from transfusion_core.science.data.samples import Label, Listing, Sample
from transfusion_core.science.data.signatures import IMAGE_SUFFIXES, is_called_image
from transfusion_core.science.data.tree import LINK, Tree
from transfusion_core.specs.dataset import LAYOUT_TASKS, DatasetSpec, FileFault, Split
from transfusion_core.specs.fault import nearest

Fields = dict[str, str]
STUDIED = ["Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion"]
"""The findings of Raghu et al. 2019, which are those of CheXpert's own competition."""
FINDINGS = [
    *("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Emphysema", "Fibrosis", "Hernia"),
    *("Infiltration", "Mass", "Nodule", "Pleural_Thickening", "Pneumonia", "Pneumothorax"),
]
"""Those of ChestX-ray14."""
_PACKED = (".tar", ".tar.gz", ".tgz", ".7z", ".rar")
"""Suffixes of archives that are not opened; ChestX-ray14 comes in twelve of them."""
ABOUT = {"Path", "Sex", "Age", "Frontal/Lateral", "AP/PA"}
"""CheXpert's columns that are no labels."""


@dataclass(frozen=True)
class Table:
    """A table of a layout, by a pattern of its name; `split` is that of its rows where it says so by its name."""

    pattern: str
    split: Split | None = None


@dataclass(frozen=True)
class Layout:
    """How a published dataset is laid out."""

    tables: Sequence[Table]
    columns: Sequence[str]
    """What a table must have; one without them is another one."""
    image: Callable[[Fields], str]
    """The image's path or bare name, as far as the row gives it."""
    label: Callable[[Fields, Sequence[str], DatasetSpec], Label | str | None]
    """By the fields, the names of labels and the spec; None where the row is not part of the dataset."""
    patient: Callable[[Fields], str | None] = lambda fields: None
    labels: Callable[[Sequence[str], DatasetSpec], Sequence[str]] = lambda header, spec: ()
    """Names of labels, by the table's header."""
    root: str = ""
    """A pattern of the leading folders of its images' paths that are the dataset's own, and may be missing."""
    lesions: bool = False
    """Whether other tables may say which images show one lesion: those are of one patient."""


def list_layout(tree: Tree, spec: DatasetSpec) -> Listing:
    """The images of a published dataset. DataError where its tables are missing, faults for single rows."""
    layout, task = LAYOUTS[spec.kind], LAYOUT_TASKS[spec.kind]
    files = tree.everything()
    named = _Images(files, tree.links())
    listed, groups = _listed_splits(tree, files), _groups(tree, files) if layout.lesions else {}
    rows: list[Row] = []
    faults: list[FileFault] = []
    seen: dict[str, str] = {}
    names: Sequence[str] = ()
    for path, table, opened in _tables(tree, files, layout, spec.kind):
        names = layout.labels(opened.columns, spec)
        table_rows = opened.rows()
        root = named.missing([layout.image(row.fields) for row in table_rows if row.whole], layout.root)
        for row in table_rows:
            number, fields = row.number, row.fields
            try:
                check_whole(row)
                told = layout.label(fields, names, spec)
                if told is None:
                    continue
                file = named.find(layout.image(fields).removeprefix(root), table.split)
                if file in seen:
                    raise RowFault(f"the file is named by {seen[file]} already")
                seen[file] = f"row {number} of {path}"
                sample = Sample(
                    file=file,
                    label=0 if isinstance(told, str) else told,
                    split=_split(file, table, listed),
                    patient=groups.get(PurePosixPath(file).stem) or layout.patient(fields),
                    row=number,
                )
                rows.append(Row(sample, str(told)))
            except RowFault as fault:
                shown = fields.get(layout.columns[0], "")
                faults.append(FileFault(file=shown, row=number, message=f"{path}: {fault}"))
    faults += [FileFault(file=link, message=f"it {LINK}") for link in sorted(tree.links() - named.linked)]
    return coded(_all_grouped(rows), names, task, faults)


class _Images:
    """Images by the end of their path, as long as a table gives it, whatever their suffix and whatever lies around."""

    def __init__(self, files: Sequence[str], links: frozenset[str]) -> None:
        self._files = [file for file in (*files, *sorted(links)) if is_called_image(file)]
        self._links = links
        self._packed = next((file for file in files if file.lower().endswith(_PACKED)), None)
        self._by_depth: dict[int, dict[str, list[str]]] = {}
        self.linked: set[str] = set()
        """Links of which a row's fault has told."""

    def find(self, named: str, split: Split | None) -> str:
        """The one image of this name; where splits use the same names, that in the split's folder."""
        if not named or not is_plain(named) or not is_inside(named):
            raise RowFault("the row names no file inside of the dataset")
        all_found = self._named(named)
        found = [file for file in all_found if file not in self._links]
        if all_found and not found:
            self.linked.update(all_found)
            raise RowFault(f"the image {LINK}")
        if len(found) > 1:
            of_suffix = [file for file in found if file.lower().endswith(named.rpartition("/")[2].lower())]
            found = of_suffix or found
        if len(found) > 1 and split is not None:
            in_folder = [file for file in found if split in file.rpartition("/")[0].lower()]
            found = in_folder or found
        if len(found) > 1:
            raise RowFault(f"{len(found)} images have this name: {found[:3]}")
        if not found:
            unpack = f" (of archives only zip is opened: unpack {self._packed})" if self._packed else ""
            raise RowFault(f"there is no such image{unpack}")
        return found[0]

    def missing(self, listed: Sequence[str], own: str) -> str:
        """The leading folders, with their slash, that a table writes and that are not there.

        Of the dataset's own folders, which match `own`, the fewest without which any image of the table is found.
        They are the same for all of its rows, and other rows keep theirs: nothing that tells two images apart, such
        as a patient's folder, is ever left out, and an image that is missing is not taken for another one.
        """
        inside = [path for path in listed if is_inside(path)]
        owns = [(path, found[0] if (found := re.match(own, path)) else "") for path in inside]
        for count in range(max((each.count("/") for _, each in owns), default=0) + 1):
            for path, each in owns:
                if each.count("/") >= count and self._named(path.split("/", count)[-1]):
                    return "".join(f"{folder}/" for folder in path.split("/")[:count])
        return ""

    def _named(self, named: str) -> list[str]:
        bare = _bare(named)
        return self._ends(bare.count("/") + 1).get(bare, [])

    def _ends(self, depth: int) -> dict[str, list[str]]:
        """By so many last parts; made when it is first asked for, as a dataset has hundreds of thousands of files."""
        if depth not in self._by_depth:
            ends: dict[str, list[str]] = defaultdict(list)
            for file in self._files:
                parts = _bare(file).split("/")
                if len(parts) >= depth:
                    ends["/".join(parts[-depth:])].append(file)
            self._by_depth[depth] = dict(ends)
        return self._by_depth[depth]


def _bare(file: str) -> str:
    """Without the suffix of an image."""
    suffix = next((suffix for suffix in IMAGE_SUFFIXES if file.lower().endswith(suffix)), "")
    return file[: len(file) - len(suffix)]


def _tables(tree: Tree, files: Sequence[str], layout: Layout, kind: str) -> Iterator[tuple[str, Table, CsvTable]]:
    """The layout's tables that are there, in the layout's order; a file is one table at most."""
    csvs = [file for file in files if _is_table(file)]
    taken: set[str] = set()
    for table in layout.tables:
        for file in csvs:
            if file in taken or not fnmatch(PurePosixPath(file).name.lower(), table.pattern):
                continue
            opened = open_table(tree, file, spelt=str.strip)
            if set(layout.columns) <= set(opened.columns):
                taken.add(file)
                yield file, table, opened
    if not taken:
        wanted = [table.pattern for table in layout.tables]
        linked = sorted(link for link in tree.links() if _is_table(link))
        raise DataError(
            f"a dataset of kind {kind!r} has a table {' or '.join(wanted)} with the columns {list(layout.columns)}; "
            f"found {csvs[:10] or 'no CSV file'}" + (f"; {linked[0]} {LINK}" if linked else "")
        )


def _is_table(file: str) -> bool:
    return file.lower().endswith((".csv", "_metadata"))


def _listed_splits(tree: Tree, files: Sequence[str]) -> dict[str, Split]:
    """Names of images in lists of names, as ChestX-ray14 has them."""
    found: dict[str, Split] = {}
    for file in files:
        split: Split | None = _LISTS.get(PurePosixPath(file).name)
        if split:
            lines = tree.read(file).decode("utf-8", "replace").split()
            found |= dict.fromkeys(lines, split)
    return found


_LISTS: dict[str, Split] = {"train_val_list.txt": "train", "test_list.txt": "test"}


def _split(file: str, table: Table, listed: dict[str, Split]) -> Split | None:
    if not listed:
        return table.split
    split = listed.get(PurePosixPath(file).name)
    if split is None:
        raise RowFault(f"the image is in none of {', '.join(_LISTS)}")
    return split


def _groups(tree: Tree, files: Sequence[str]) -> dict[str, str]:
    """Image to lesion, from tables beside the labels, as the ISIC archive has them."""
    found: dict[str, str] = {}
    for file in files:
        if _is_table(file):
            table = open_table(tree, file, spelt=str.strip)
            image = next((name for name in ("image", "image_id") if name in table.columns), None)
            if image and "lesion_id" in table.columns:
                rows = [row.fields for row in table.rows()]
                found |= {row[image]: row["lesion_id"] for row in rows if row.get(image) and row.get("lesion_id")}
    return found


def _all_grouped(rows: Sequence[Row]) -> list[Row]:
    """Where some images name a patient and others do not, these stand for themselves."""
    if not any(row.sample.patient for row in rows):
        return list(rows)
    alone = ((row, replace(row.sample, patient=f"alone: {row.sample.file}")) for row in rows)
    return [row if row.sample.patient else replace(row, sample=sample) for row, sample in alone]


def _uncertain(fields: Fields, names: Sequence[str], spec: DatasetSpec) -> Label | None:
    """CheXpert's 1, 0, -1 for uncertain, and nothing for what a report does not mention."""
    view = fields.get("Frontal/Lateral", "").strip().lower()
    if spec.views not in (None, "all", view):
        return None
    words = {"1.0": 1.0, "1": 1.0, "0.0": 0.0, "0": 0.0, "": math.nan, "nan": math.nan}
    words |= dict.fromkeys(("-1.0", "-1"), {"zeros": 0.0, "ones": 1.0}.get(str(spec.uncertain), math.nan))
    told = [fields[name].strip().lower() for name in names]
    strange = [word for word in told if word not in words]
    if strange:
        raise RowFault(f"a label is {strange[0]!r}: expected 1.0, 0.0, -1.0 or nothing")
    return tuple(words[word] for word in told)


def _chosen(known: Sequence[str], spec: DatasetSpec, default: Sequence[str]) -> Sequence[str]:
    wanted = list(spec.labels or default)
    for name in wanted:
        if name not in known:
            close = nearest(name, known)
            raise DataError(f"there is no label {name!r}" + (f" (did you mean {close!r}?)" if close else f": {known}"))
    return wanted


def _findings(fields: Fields, names: Sequence[str], spec: DatasetSpec) -> Label:
    """ChestX-ray14's findings, with bars between them."""
    told = fields["Finding Labels"].strip().split("|")
    strange = [word for word in told if word not in {*FINDINGS, "No Finding"}]
    if strange:
        raise RowFault(f"there is no finding {strange[0]!r}: expected {', '.join(FINDINGS)} or No Finding")
    return tuple(float(name in told) for name in names)


def _grade(column: str, *, only_if: str | None = None) -> Callable[[Fields, Sequence[str], DatasetSpec], Label | None]:
    def grade(fields: Fields, names: Sequence[str], spec: DatasetSpec) -> Label | None:
        word = fields[column].strip().removesuffix(".0")
        return None if only_if and fields.get(only_if, "").strip() in ("0", "0.0") else grade_of(word)

    return grade


def _one_of(fields: Fields, names: Sequence[str], spec: DatasetSpec) -> str:
    """The class whose column is 1."""
    hot = [name for name in names if fields[name].strip() in ("1", "1.0")]
    if len(hot) != 1:
        raise RowFault(f"expected one class that is 1, found {hot or 'none'}")
    return hot[0]


def _diagnosis(fields: Fields, names: Sequence[str], spec: DatasetSpec) -> str:
    word = fields["dx"].strip()
    if not word or not is_plain(word):
        raise RowFault("the diagnosis 'dx' is empty")
    return word


def _named(column: str) -> Callable[[Fields], str]:
    return lambda fields: fields[column].strip()


def _patient_in(column: str, pattern: str) -> Callable[[Fields], str]:
    def patient(fields: Fields) -> str:
        found = re.search(pattern, fields[column])
        if found is None:
            raise RowFault(f"no patient can be told from {fields[column]!r}")
        return found[0]

    return patient


LAYOUTS: dict[str, Layout] = {
    "chexpert": Layout(
        [Table("train*.csv", "train"), Table("valid*.csv", "val"), Table("test*.csv", "test")],
        ["Path", "Frontal/Lateral"],
        image=_named("Path"),
        label=_uncertain,
        patient=_patient_in("Path", r"patient\d+"),
        labels=lambda header, spec: _chosen([name for name in header if name not in ABOUT], spec, STUDIED),
        root=r"(?:[^/]+/)*?(?=patient\d+/)",  # CheXpert-v1.0-small/train/
    ),
    "chestxray14": Layout(
        [Table("data_entry*.csv")],
        ["Image Index", "Finding Labels", "Patient ID"],
        image=_named("Image Index"),
        label=_findings,
        patient=_named("Patient ID"),
        labels=lambda header, spec: _chosen(FINDINGS, spec, FINDINGS),
    ),
    "eyepacs": Layout(
        [Table("train*.csv", "train"), Table("*test*.csv", "test"), Table("retinopathy_solution.csv", "test")],
        ["image", "level"],
        image=_named("image"),
        label=_grade("level"),
        patient=_patient_in("image", r"^\d+(?=_(left|right))"),
    ),
    "aptos": Layout(
        [Table("train*.csv", "train"), Table("valid*.csv", "val"), Table("test*.csv", "test")],
        ["id_code", "diagnosis"],
        image=_named("id_code"),
        label=_grade("diagnosis"),
    ),
    "idrid": Layout(
        [Table("*training labels.csv", "train"), Table("*testing labels.csv", "test")],
        ["Image name", "Retinopathy grade"],
        image=_named("Image name"),
        label=_grade("Retinopathy grade"),
    ),
    "messidor2": Layout(
        [Table("messidor*.csv")],
        ["image_id", "adjudicated_dr_grade", "adjudicated_gradable"],
        image=_named("image_id"),
        label=_grade("adjudicated_dr_grade", only_if="adjudicated_gradable"),
    ),
    "ham10000": Layout(
        [Table("ham10000_metadata*")],
        ["image_id", "dx", "lesion_id"],
        image=_named("image_id"),
        label=_diagnosis,
        lesions=True,
    ),
    "isic": Layout(
        [
            Table("*training_groundtruth.csv", "train"),
            Table("*validation_groundtruth.csv", "val"),
            Table("*test_groundtruth.csv", "test"),
        ],
        ["image"],
        image=_named("image"),
        label=_one_of,
        labels=lambda header, spec: [name for name in header if name != "image"],
        lesions=True,
    ),
}
"""By the kind of a dataset spec."""
