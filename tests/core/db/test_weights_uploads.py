import pytest

from transfusion_core.db import uploads, weights
from transfusion_core.db.scope import Scope
from transfusion_core.errors import Conflict, NotFound
from transfusion_core.specs.contract import InputContract
from transfusion_core.specs.dataset import StoredObject

ONE = StoredObject(key="one", size_bytes=1, sha256="1" * 64)
TWO = StoredObject(key="two", size_bytes=1, sha256="2" * 64)


def test_a_name_of_weights_never_changes_what_it_stands_for(engine):
    registered = weights.register(Scope(engine), "w", ONE)
    assert weights.register(Scope(engine), "w", ONE) == weights.get(Scope(engine), "w") == registered
    with pytest.raises(Conflict, match="are there already"):
        weights.register(Scope(engine), "w", TWO)


def test_weights_that_are_not_there_are_not_found(engine):
    with pytest.raises(NotFound, match="no weights 'w'"):
        weights.get(Scope(engine), "w")


def test_an_upload_is_announced_and_finished(engine):
    upload = uploads.create(Scope(engine), filename="../a.zip", size_bytes=2**40)
    assert (upload.state, upload.key, upload.object) == ("open", f"uploads/{upload.id}", None)
    finished = uploads.finish(Scope(engine), upload.id, ONE)
    assert (finished.state, finished.object) == ("finished", ONE)
    assert uploads.finish(Scope(engine), upload.id, ONE) == uploads.get(Scope(engine), upload.id) == finished
    with pytest.raises(Conflict, match="is finished"):
        uploads.finish(Scope(engine), upload.id, TWO)


def test_an_upload_that_is_not_there_is_not_found(engine):
    with pytest.raises(NotFound):
        uploads.get(Scope(engine), "nothing")
    with pytest.raises(NotFound):
        uploads.finish(Scope(engine), "nothing", ONE)


def test_what_weights_expect_is_kept_and_never_changes(engine):
    told = InputContract(mean=[0.5], std=[0.25], size=96)
    weights.register(Scope(engine), "w", ONE, told)
    assert weights.register(Scope(engine), "w", ONE, told).input == weights.get(Scope(engine), "w").input == told
    for other in (None, InputContract(mean=[0.5], std=[0.5])):
        with pytest.raises(Conflict, match="something else was said of their input"):
            weights.register(Scope(engine), "w", ONE, other)
