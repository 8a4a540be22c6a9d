"""Work on every core: in order, with errors, without nesting, and with the libraries' threads as they were."""

import sys
import threading
from multiprocessing import get_context

import pytest
import torch
from threadpoolctl import ThreadpoolController

from transfusion_core.science.similarity.threads import MANY, each, once, one_blas_thread, one_torch_thread


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_answers_come_in_the_order_of_the_items():
    assert each(lambda item: item**2, range(20), numbers=MANY) == [item**2 for item in range(20)]


def test_few_numbers_stay_on_the_calling_thread():
    here = threading.get_ident()
    assert each(lambda _: threading.get_ident(), range(3), numbers=MANY - 1) == [here] * 3


def test_libraries_have_one_thread_inside_and_their_own_outside():
    seen = each(lambda _: torch.get_num_threads(), range(4), numbers=MANY)
    assert seen == [1] * 4
    assert torch.get_num_threads() == 2


def test_inner_work_stays_on_its_thread():
    def outer(_):
        return set(each(lambda _: threading.get_ident(), range(4), numbers=MANY)) == {threading.get_ident()}

    assert all(each(outer, range(4), numbers=MANY))


def test_an_error_is_raised_after_the_others_are_done():
    done = []

    def work(item):
        if item == 0:
            raise ValueError("item 0")
        done.append(item)

    with pytest.raises(ValueError, match="item 0"):
        each(work, range(6), numbers=MANY)
    assert sorted(done) == [1, 2, 3, 4, 5]
    assert torch.get_num_threads() == 2


def test_one_torch_thread_is_given_back_after_an_error():
    @one_torch_thread()
    def fail():
        raise ValueError(f"inside with {torch.get_num_threads()}")

    with pytest.raises(ValueError, match="inside with 1"):
        fail()
    assert torch.get_num_threads() == 2


def test_once_works_an_attribute_out_once_for_each_instance():
    class Counted:
        calls = 0

        @once
        def value(self):
            """Say something."""
            Counted.calls += 1
            return Counted.calls

    first, second = Counted(), Counted()
    assert (first.value, first.value, second.value, Counted.calls) == (1, 1, 2, 2)
    assert Counted.value.__doc__ == "Say something."


def test_short_turns_and_one_thread_of_blas_end_when_the_last_is_out():
    blas = ThreadpoolController().select(user_api="blas")
    threads, interval = [found["num_threads"] for found in blas.info()], sys.getswitchinterval()
    first, second = one_blas_thread(), one_blas_thread()
    with first:
        with second:
            each(lambda _: None, range(2), numbers=MANY)
        assert {found["num_threads"] for found in blas.info()} == {1}
    assert [found["num_threads"] for found in blas.info()] == threads
    assert each(lambda _: sys.getswitchinterval() < interval, range(2), numbers=MANY) == [True, True]
    assert sys.getswitchinterval() == interval
    with one_blas_thread(unless=True):
        assert [found["num_threads"] for found in blas.info()] == threads


def _in_child(queue):
    torch.set_num_threads(2)
    queue.put(each(lambda item: item, range(4), numbers=MANY))
    queue.put([found["num_threads"] for found in ThreadpoolController().select(user_api="blas").info()])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_starts_threads_of_its_own():
    threads = [found["num_threads"] for found in ThreadpoolController().select(user_api="blas").info()]
    each(lambda item: item, range(4), numbers=MANY)
    context = get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(queue,))
    with one_blas_thread():
        child.start()
    assert queue.get(timeout=60) == [0, 1, 2, 3]
    assert queue.get(timeout=60) == threads
    child.join(60)
    assert child.exitcode == 0
