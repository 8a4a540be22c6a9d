"""Things gathered and written by a thread beside."""

import pytest

from transfusion_core.science.data import batching
from transfusion_core.science.data.ahead import ahead
from transfusion_core.science.data.batching import Batches


def test_batches_are_written_in_order_and_hold_no_more_than_they_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "BATCH_BYTES", 10)
    with Batches[int, str](lambda number, items: f"{number}: {items}") as batches:
        for item in (4, 4, 4, 20, 1):
            batches.add(item, size_bytes=item)
        assert batches.end() == ["0: [4, 4]", "1: [4]", "2: [20]", "3: [1]"]


def test_nothing_makes_no_batch() -> None:
    with Batches[int, int](lambda number, items: 1 // 0) as batches:
        assert batches.end() == []


def test_a_batch_that_cannot_be_written_is_an_error_of_a_later_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "BATCH_BYTES", 1)
    with Batches[int, int](lambda number, items: 1 // 0) as batches:
        batches.add(0, size_bytes=1)
        batches.add(1, size_bytes=1)
        with pytest.raises(ZeroDivisionError):
            batches.end()


def test_two_batches_are_in_memory_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "BATCH_BYTES", 1)
    added: list[int] = []
    beyond: list[int] = []
    with Batches[int, None](lambda number, items: beyond.append(len(added) - number)) as batches:
        for item in range(200):
            batches.add(item, size_bytes=1)
            added.append(item)
        batches.end()
    assert max(beyond) <= 2, "one is being written, one waits, and who brings the third waits too"


@pytest.mark.parametrize("group", [1, 3])
def test_work_ahead_comes_in_order_and_takes_no_more_than_it_soon_needs(group: int) -> None:
    taken = []

    def items():
        for item in range(100):
            taken.append(item)
            yield item

    done = ahead(lambda item: item * 2, items(), threads=2, group=group)
    assert next(done) == 0
    assert len(taken) <= 6 * group
    assert list(done) == [2 * item for item in range(1, 100)]
