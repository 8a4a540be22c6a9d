"""Datasets: labelled images with a fixed split, registered once and named `name@version` afterwards."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from transfusion_client.connection import Connection
from transfusion_client.sending import Sent
from transfusion_client.uploads import location_of
from transfusion_client.waiting import wait_until_ended
from transfusion_core.errors import InvalidRequest, NotReady
from transfusion_core.specs.base import Spec
from transfusion_core.specs.dataset import Dataset
from transfusion_core.specs.manifest import DatasetDiff, PatientSalt, pseudonym
from transfusion_core.specs.profile import ClassSamples, DatasetProfile
from transfusion_core.specs.removal import Removal


class Datasets:
    """The datasets of a service."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(
        self,
        name: str,
        path_or_spec: str | Path | Mapping[str, Any] | Spec,
        *,
        kind: str | None = None,
        task: str | None = None,
        sent: Sent | None = None,
        **options: Any,
    ) -> Dataset:
        """Register a dataset version, which is ingested afterwards: see `wait`. Same content, same version.

        A path is a file or folder of this machine (uploaded, or read in place by an embedded service), or a location
        that the service knows (`s3://...`, `upload:ID`). `kind` is told by the path unless given: `.npz` files are
        npz, `.csv` files are manifests beside their images, folders are `split/class/file`. Options are the dataset
        spec's: columns, manifest, labels, uncertain, views, image_sizes, skip_unreadable, split_seed,
        and `extends` for a version that has the images of another (`name@1`) too. A mapping or DatasetSpec is
        sent as it is.

        Large files go in parts; what was cut off goes on when the same file or folder is added again. `sent` is
        called with how many bytes have arrived, and of how many.
        """
        given = {"name": name, "kind": kind, "task": task, **options}
        spec = {field: value for field, value in given.items() if value is not None}
        if isinstance(path_or_spec, str | Path):
            spec = {**self._located(path_or_spec, kind, sent), **spec}
        else:
            spec = {**_plain(path_or_spec), **spec}
        return self._connection.read(Dataset, self._connection.post("/v1/datasets", spec, repeatable=True))

    def _located(self, path: str | Path, kind: str | None, sent: Sent | None) -> dict[str, Any]:
        if str(path).startswith(("s3://", "upload:", "file:///")):
            return {"location": str(path), "kind": kind or _kind_of(Path(path))}
        path = Path(path)
        kind = kind or _kind_of(path)
        if kind == "csv" and path.is_file() and path.suffix == ".csv":
            return {
                "kind": kind,
                "location": location_of(self._connection, path.absolute().parent, sent=sent),
                "manifest": path.name,
            }
        return {"kind": kind, "location": location_of(self._connection, path, sent=sent)}

    def delete(self, name: str) -> Removal:
        """Delete a version, `name@version`, that nothing is made of, with its files; says what went."""
        return self._connection.read(Removal, self._connection.delete(f"/v1/datasets/{name}"))

    def get(self, name: str) -> Dataset:
        """One dataset, by `name@version` or `name` for the newest."""
        return self._connection.read(Dataset, self._connection.get(f"/v1/datasets/{name}"))

    def list(self, **filters: object) -> Iterator[Dataset]:
        """Every dataset, the pages fetched as needed."""
        return (self._connection.read(Dataset, item) for item in self._connection.pages("/v1/datasets", **filters))

    def wait(self, name: str, *, timeout_seconds: float | None = None) -> Dataset:
        """The dataset once it is ingested, or has failed: its `state` tells, its `faults` and `reason` say why."""
        return wait_until_ended(
            lambda: self.get(name),
            lambda dataset: dataset.state,
            clock=self._connection.clock,
            what=f"dataset {name}",
            timeout_seconds=timeout_seconds,
        )

    def manifest(self, name: str, path: str | Path) -> Path:
        """Write a version's images one by one into a CSV file: file, sha256, label, split, hashed patient, size."""
        self._connection.download(f"/v1/datasets/{name}/manifest", Path(path))
        return Path(path)

    def diff(self, name: str, against: str | None = None) -> DatasetDiff:
        """What a version has otherwise than its parent, or than another one: added, removed, relabelled, moved."""
        return self._connection.read(DatasetDiff, self._connection.get(f"/v1/datasets/{name}/diff", against=against))

    def hashed_patients(self, name: str, patients: Iterable[str]) -> dict[str, str]:
        """What the manifest of a version has in the place of these patients; takes a key that may write.

        The ids stay here: the service only tells the salt.
        """
        answer = self._connection.get(f"/v1/datasets/{name}/salt")
        salt = bytes.fromhex(self._connection.read(PatientSalt, answer).salt)
        return {patient: pseudonym(salt, patient) for patient in patients}

    def chart(self, name: str, chart: str, path: str | Path) -> Path:
        """Write a chart (figure-1, classes, resolutions, intensities) as .json, .svg or .png, by the suffix."""
        self._connection.download(f"/v1/datasets/{name}/charts/{chart}{Path(path).suffix}", Path(path))
        return Path(path)

    def profile(self, name: str, *, timeout_seconds: float | None = None) -> DatasetProfile:
        """What a dataset is like: counts, patients, duplicates, leaks, samples. Waits until it has been looked at."""

        def look() -> DatasetProfile | None:
            try:
                return self._connection.read(DatasetProfile, self._connection.get(f"/v1/datasets/{name}/profile"))
            except NotReady:
                return None

        found = wait_until_ended(
            look,
            lambda profile: "running" if profile is None else "succeeded",
            clock=self._connection.clock,
            what=f"the profile of dataset {name}",
            timeout_seconds=timeout_seconds,
        )
        assert found is not None
        return found

    def samples(self, name: str) -> Sequence[ClassSamples]:
        """A few train images of each class, as pictures. NotReady until the dataset has been looked at."""
        pages = self._connection.pages(f"/v1/datasets/{name}/samples")
        return [self._connection.read(ClassSamples, item) for item in pages]


def _plain(spec: Mapping[str, Any] | Spec) -> dict[str, Any]:
    return spec.model_dump(mode="json", exclude_unset=True) if isinstance(spec, Spec) else dict(spec)


def _kind_of(path: Path) -> str:
    if path.suffix in (".npz", ".csv"):
        return path.suffix.removeprefix(".")
    if path.suffix in ("", ".zip") or path.is_dir():
        return "folder"
    raise InvalidRequest(f"cannot tell what kind of dataset {path} is: expected kind npz, folder or csv")
