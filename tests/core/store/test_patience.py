"""How often and for how long a store that does not answer is asked, by a clock of our own."""

import pytest

from transfusion_core.errors import StoreError, Unavailable
from transfusion_core.store.patience import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, SLOW_SECONDS, Patience


class Time:
    """A clock that goes on only while somebody sleeps."""

    def __init__(self) -> None:
        self.now, self.drawn = 0.0, []

    def patience(self, seconds: float, share: float = 1.0) -> Patience:
        def draw(low: float, high: float) -> float:
            self.drawn.append((low, high))
            return low + share * (high - low)

        return Patience(seconds=seconds, clock=lambda: self.now, sleep=self.sleep, draw=draw)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def failing(times: int):
    left = [times]

    def act() -> str:
        if left[0]:
            left[0] -= 1
            raise Unavailable("away")
        return "there"

    return act


def test_pauses_double_up_to_the_longest_and_are_drawn_from_zero():
    time = Time()
    assert time.patience(1000).retry(failing(9)) == "there"
    highs = [high for _, high in time.drawn]
    assert highs[:3] == [FIRST_PAUSE_SECONDS, 2 * FIRST_PAUSE_SECONDS, 4 * FIRST_PAUSE_SECONDS]
    assert highs[-1] == LONGEST_PAUSE_SECONDS
    assert {low for low, _ in time.drawn} == {0}


def test_the_deadline_ends_it_and_says_how_often_it_was_tried():
    time = Time()
    with pytest.raises(Unavailable, match=r"away; tried 4 times in 1 s"):
        time.patience(2).retry(failing(99))
    assert time.now <= 2


def test_no_patience_is_one_try():
    with pytest.raises(Unavailable, match="tried 1 times"):
        Time().patience(0).retry(failing(1))


def test_a_refusal_is_not_asked_again():
    def refuse() -> None:
        raise StoreError("no")

    with pytest.raises(StoreError, match=r"^no$"):
        Time().patience(100).retry(refuse)


def test_large_things_may_take_longer_than_patience_but_not_for_ever():
    time = Time()
    tries = time.patience(1).begin(size_bytes=1_000_000)
    time.now = SLOW_SECONDS + 49
    tries.check()
    time.now = SLOW_SECONDS + 51
    with pytest.raises(Unavailable, match="too slow") as raised:
        tries.check()
    with pytest.raises(Unavailable) as again:
        tries.again(raised.value)
    assert again.value is raised.value, "it is not tried again"


def test_patience_begins_anew_with_what_got_on():
    time = Time()
    tries = time.patience(2).begin()
    for _ in range(5):
        assert tries.retry(failing(2)) == "there"
        time.now += 1
        tries.got_on()
    with pytest.raises(Unavailable, match="tried 4 times") as raised:
        tries.retry(failing(99))
    with pytest.raises(Unavailable) as again:
        tries.again(raised.value)
    assert str(again.value).count("tried") == 1


def test_many_failures_do_not_make_a_number_too_large():
    time = Time()
    assert time.patience(1e9, share=0.0).retry(failing(5000)) == "there"
