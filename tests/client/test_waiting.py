"""Waiting: for as long as it takes, through cuts, and never at the experiment's expense."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest

from transfusion_client import progress
from transfusion_client.client import Client
from transfusion_client.connection import Connection
from transfusion_client.events import Event
from transfusion_client.experiments import Experiment
from transfusion_client.progress import in_words, open_display
from transfusion_core.errors import NotFound, Unavailable


@pytest.fixture
def experiment(client: Client, spec: dict[str, Any]) -> Experiment:
    return client.experiments.create(spec)


def test_it_returns_the_experiment_as_it_ended(experiment: Experiment, clock: Any) -> None:
    assert experiment.wait() is experiment
    assert (experiment.state, experiment.ok, experiment.progress) == ("succeeded", True, 1.0)
    assert clock.slept == [0.2 * 1.3, 0.2 * 1.3 * 1.3]


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_a_bad_end_is_told_not_raised(experiment: Experiment, service: Any, state: str) -> None:
    service.states = ["running", state]
    assert not experiment.wait().ok
    assert experiment.ended


def test_pauses_stay_below_four_seconds(experiment: Experiment, service: Any, clock: Any) -> None:
    service.states = ["running"] * 30 + ["succeeded"]
    experiment.wait()
    assert max(clock.slept) == pytest.approx(3.0 * 1.3)


def test_it_outlives_cuts_and_errors_of_the_service(
    experiment: Experiment, service: Any, answering: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    service.upset(*[httpx2.ConnectError] * 12, answering["problem"](500, "internal", "A bug."))
    assert experiment.wait(progress=True).ok
    told = capsys.readouterr().err
    assert "no answer from http://testserver:8000: the line is cut; trying again" in told
    assert "A bug.; trying again" in told
    assert "100% succeeded: 3 queued" in told


def test_it_gives_up_on_a_service_that_is_gone_for_good(experiment: Experiment, service: Any, clock: Any) -> None:
    service.upset(*[httpx2.ConnectError] * 2000)
    with pytest.raises(Unavailable):
        experiment.wait()
    assert clock.seconds > 900


def test_an_error_that_is_meant_is_raised_at_once(experiment: Experiment, service: Any) -> None:
    service.created.clear()
    with pytest.raises(NotFound):
        experiment.wait()


def test_a_timeout_leaves_the_experiment_alone(experiment: Experiment, service: Any) -> None:
    service.states = ["running"] * 100
    with pytest.raises(TimeoutError, match="experiment e1 has not ended within 10 seconds; it goes on"):
        experiment.wait(timeout_seconds=10)
    assert service.calls("POST", "/v1/experiments/e1/cancel") == []


def test_ctrl_c_detaches_and_never_cancels(
    experiment: Experiment, service: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    service.upset(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        experiment.wait(progress=True)
    assert "transfusion watch e1" in capsys.readouterr().err
    service.upset(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        experiment.wait()
    assert [sent.path for sent in service.sent if sent.method == "POST"] == ["/v1/experiments"]


def told(number: int) -> str:
    return f'id: {number}\nevent: state\ndata: {{"job": "j{number}"}}\n\n'


PROGRESS = 'event: progress\ndata: {"state": "running", "progress": 0.5}\n\n'
END = 'event: end\ndata: {"state": "succeeded"}\n\n'


def test_a_stream_cut_twenty_times_loses_and_doubles_no_event(
    experiment: Experiment, service: Any, clock: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each time it tells one event, the progress again, and half of the next event."""
    service.streams = [told(n) + PROGRESS + told(n + 1)[:-2] for n in range(1, 21)] + [told(21) + END]
    service.upset(httpx2.ReadError, httpx2.ConnectError, path="/v1/experiments/e1/events")
    heard: list[Event] = []
    assert experiment.wait(on_event=heard.append, progress=True).ok
    states = [event.id for event in heard if event.kind == "state"]
    assert states == [str(n) for n in range(1, 22)]
    assert [event.kind for event in heard if event.kind != "state"] == ["progress", "end"]
    asked = [sent.headers.get("last-event-id") for sent in service.calls("GET", "/v1/experiments/e1/events")]
    assert asked == [None, None, None, *states[:20]]
    assert "ended early; trying again" in capsys.readouterr().err


def test_events_are_waited_for_no_longer_than_asked(experiment: Experiment, service: Any, clock: Any) -> None:
    service.streams = [told(n) for n in range(1, 200)]
    with pytest.raises(TimeoutError, match="has not ended within 10 seconds; it goes on"):
        experiment.wait(on_event=lambda event: None, timeout_seconds=10)


def test_a_stream_that_is_silent_until_the_deadline_is_no_outage(
    experiment: Experiment,
    service: Any,
    clock: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It opens, and says nothing for as long as it may."""

    @contextmanager
    def silent(self: Connection, *_: object, silence_seconds: float) -> Iterator[Iterator[Any]]:
        def sent() -> Iterator[Any]:
            clock.seconds += silence_seconds
            raise httpx2.ReadTimeout("silence")
            yield

        yield sent()

    monkeypatch.setattr(Connection, "stream", silent)
    with pytest.raises(TimeoutError, match="within 2000 seconds"):
        experiment.wait(on_event=lambda event: None, timeout_seconds=2000, progress=True)
    assert "trying again" not in capsys.readouterr().err


def test_an_error_in_the_callback_is_the_callers(experiment: Experiment, service: Any) -> None:
    service.streams = [told(1)]

    def fail(event: Event) -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        experiment.wait(on_event=fail)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(progress.sys, "stderr", terminal)
    experiment.wait(progress=True)
    display = open_display()
    display.show(experiment.record)
    display.say("[a message]")
    display.close()
    assert "first: succeeded" in terminal.getvalue()
    assert "[a message]" in terminal.getvalue()


def test_durations_are_told_in_fitting_units() -> None:
    assert [in_words(seconds) for seconds in (40, 720, 12_600)] == ["40 s", "12 min", "3.5 h"]
