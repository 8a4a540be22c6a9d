import pytest

from transfusion_core.db import experiments, idempotency
from transfusion_core.db.scope import Scope
from transfusion_core.errors import IdempotencyMismatch


def test_an_answer_is_kept_with_what_it_answers(engine, world):
    assert idempotency.look(Scope(engine), "k", "r", "d") is None
    created = experiments.create(Scope(engine), world.expansion(), name="e", idempotency=("k", "r", "d"))
    assert idempotency.look(Scope(engine), "k", "r", "d") == idempotency.Answer({"id": created.id})
    assert idempotency.look(Scope(engine), "k", "another route", "d") is None
    with pytest.raises(IdempotencyMismatch):
        idempotency.look(Scope(engine), "k", "r", "other body")
