from concurrent.futures import ThreadPoolExecutor

import pytest

from transfusion_core.db import experiments, weights
from transfusion_core.db.scope import Scope
from transfusion_core.errors import InvalidRequest
from transfusion_core.specs.dataset import StoredObject


def test_pages_under_inserts_give_each_row_once(engine, world):
    expansion = world.expansion()

    def create(n: int) -> str:
        return experiments.create(Scope(engine), expansion, name=f"e{n}").id

    before = [create(n) for n in range(7)]
    seen, cursor = [], None
    with ThreadPoolExecutor(2) as pool:
        later = pool.map(create, range(7, 13))
        while True:
            page = experiments.page(Scope(engine), limit=2, cursor=cursor)
            seen += [item.id for item in page.items]
            cursor = page.next
            if cursor is None:
                break
        list(later)
    assert len(seen) == len(set(seen))
    assert set(before) <= set(seen)
    assert seen == sorted(seen, reverse=True)


def test_the_last_page_has_no_next(engine):
    for name in "abcd":
        weights.register(Scope(engine), name, StoredObject(key=name, size_bytes=1, sha256="0" * 64))
    first = weights.page(Scope(engine), limit=2)
    last = weights.page(Scope(engine), limit=2, cursor=first.next)
    assert ([w.name for w in first.items], [w.name for w in last.items]) == (["d", "c"], ["b", "a"])
    assert last.next is None
    assert weights.page(Scope(engine), limit=4).next is None


@pytest.mark.parametrize("cursor", ["é", "a", "_____", "/w=="])
def test_a_cursor_that_is_not_ours_is_refused(engine, cursor):
    with pytest.raises(InvalidRequest, match="cursor") as caught:
        experiments.page(Scope(engine), limit=1, cursor=cursor)
    assert caught.value.faults[0].pointer == "/cursor"
