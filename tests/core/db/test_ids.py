import re
from concurrent.futures import ThreadPoolExecutor

from transfusion_core.db.ids import new_id, new_ids


def test_ids_are_url_safe_and_26_long():
    assert re.fullmatch(r"[0-9a-z]{26}", new_id())


def test_ids_made_together_rise_and_none_comes_twice():
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(new_ids, [2000] * 4))
    assert all(ids == sorted(ids) for ids in made)
    assert len({one for ids in made for one in ids}) == 8000


def test_ids_sort_by_the_time_they_were_made(monkeypatch):
    stamps = iter([1_700_000_000_000_000_000, 1_700_000_000_001_000_000])
    monkeypatch.setattr("time.time_ns", lambda: next(stamps))
    assert new_id() < new_id()
