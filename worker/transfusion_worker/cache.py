"""A worker's local copies of objects, by their digest. Each use checks the copy: flipped bits load silently."""

from pathlib import Path

from transfusion_core.specs.dataset import StoredObject
from transfusion_core.store import Store
from transfusion_core.store.files import digest_of


def fetch(store: Store, stored: StoredObject, *, cache_dir: Path) -> Path:
    """A local file with the object's bytes. Two processes may fetch the same one at the same time."""
    path = cache_dir / "objects" / stored.sha256[:2] / stored.sha256
    if not path.is_file() or digest_of(path) != stored.sha256:
        store.get_file(stored, path)
    return path
