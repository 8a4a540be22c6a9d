"""Requests, retries and errors, against a service in memory."""

from typing import Any

import httpx2
import pytest

from transfusion_client.client import Client
from transfusion_core.errors import (
    Conflict,
    InvalidRequest,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    TransfusionError,
    Unavailable,
    by_code,
)


def test_address_and_key_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, service: Any, transport: httpx2.BaseTransport
) -> None:
    assert Client().url == "http://127.0.0.1:8000"
    monkeypatch.setenv("TRANSFUSION_URL", "http://testserver:8000/")
    monkeypatch.setenv("TRANSFUSION_API_KEY", "secret")
    service.key = "secret"
    with Client(transport=transport) as client:
        assert client.url == "http://testserver:8000"
        assert list(client.experiments.list()) == []


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host", "http://"])
def test_an_address_that_is_none_is_refused_before_anything_is_sent(url: str) -> None:
    with pytest.raises(InvalidRequest, match="expected the service's address"):
        Client(url)


@pytest.mark.parametrize("code", sorted(by_code()))
def test_every_error_of_the_service_is_raised_as_the_same_class(
    client: Client, service: Any, answering: Any, code: str
) -> None:
    kind = by_code()[code]
    service.upset(*[answering["problem"](kind.status, code, "It is so.")] * 5)
    with pytest.raises(TransfusionError) as caught:
        client.experiments.get("e1")
    assert type(caught.value) is kind
    assert (caught.value.detail, caught.value.request_id) == ("It is so.", "request-1")


def test_all_faults_arrive_with_pointer_and_nearest_name(client: Client) -> None:
    with pytest.raises(InvalidRequest) as caught:
        client.experiments.create({"name": "no dataset", "models": ["resnet5"]})
    assert [fault.pointer for fault in caught.value.faults] == ["/dataset", "/models/0"]
    assert "did you mean 'resnet50'?" in str(caught.value)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequest),
        (401, NotAuthenticated),
        (403, NotAllowed),
        (404, NotFound),
        (409, Conflict),
        (418, TransfusionError),
        (500, TransfusionError),
        (302, TransfusionError),
    ],
)
def test_an_unknown_code_is_raised_as_the_class_nearest_to_its_status(
    client: Client, service: Any, answering: Any, status: int, kind: type[TransfusionError]
) -> None:
    service.upset(answering["problem"](status, "of_tomorrow", "New."))
    with pytest.raises(TransfusionError) as caught:
        client.experiments.get("e1")
    assert type(caught.value) is kind


@pytest.mark.parametrize("body", ["<html>Bad\n gateway</html>", "[1]", b"\xff\xfe"])
def test_an_error_without_a_problem_document_says_what_came(
    client: Client, service: Any, answering: Any, body: Any
) -> None:
    service.upset(*[answering["Answer"](502, body, {"X-Request-Id": "abc"})] * 5)
    with pytest.raises(Unavailable, match=r"GET http://testserver:8000/v1/experiments/e1 answered 502") as caught:
        client.experiments.get("e1")
    assert caught.value.request_id == "abc"


def test_faults_of_another_shape_are_left_out(client: Client, service: Any, answering: Any) -> None:
    service.upset(answering["problem"](422, "invalid", "Bad.", [{"where": "here"}]))
    with pytest.raises(InvalidRequest, match="Bad") as caught:
        client.experiments.get("e1")
    assert caught.value.faults == []


@pytest.mark.parametrize("body", ["<html>hello</html>", b"\xff\xfe"])
def test_a_page_instead_of_json_is_an_error_that_names_the_address(
    client: Client, service: Any, answering: Any, body: Any
) -> None:
    service.upset(answering["Answer"](200, body, {"Content-Type": "text/html"}))
    with pytest.raises(TransfusionError, match="expected JSON from http://testserver:8000/healthz, got text/html"):
        client.health()


def test_a_record_that_cannot_be_read_is_an_error(client: Client, service: Any, answering: Any) -> None:
    service.upset(answering["Answer"](200, {"id": "e1"}))
    with pytest.raises(TransfusionError, match="is no Experiment"):
        client.experiments.get("e1")


@pytest.mark.parametrize("value", [float("nan"), {1, 2}])
def test_what_json_cannot_hold_is_refused_before_it_is_sent(
    client: Client, service: Any, spec: dict[str, Any], value: Any
) -> None:
    with pytest.raises(InvalidRequest, match="cannot be sent as JSON"):
        client.experiments.create({**spec, "seeds": value})
    assert service.sent == []


def test_a_read_is_sent_again_after_cuts_with_growing_pauses(client: Client, service: Any, clock: Any) -> None:
    service.upset(httpx2.ConnectError, httpx2.ReadTimeout, httpx2.RemoteProtocolError)
    assert client.health()["status"] == "ok"
    assert clock.slept == [0.4, 0.8, 1.6]


def test_the_last_error_is_raised_when_every_try_is_cut(client: Client, service: Any) -> None:
    service.upset(*[httpx2.ConnectError] * 5)
    with pytest.raises(Unavailable, match="no answer from http://testserver:8000: the line is cut") as caught:
        client.health()
    assert isinstance(caught.value.__cause__, httpx2.ConnectError)
    assert len(service.sent) == 5


def test_an_experiment_is_created_once_however_often_it_is_sent(
    client: Client, service: Any, spec: dict[str, Any], answering: Any
) -> None:
    service.upset(httpx2.ReadError, answering["problem"](503, "unavailable", "Busy."))
    assert client.experiments.create(spec).id == "e1"
    keys = {sent.headers["idempotency-key"] for sent in service.sent}
    assert (len(service.sent), len(keys), len(service.created)) == (3, 1, 1)


def test_a_given_idempotency_key_is_the_one_that_is_sent(client: Client, service: Any, spec: dict[str, Any]) -> None:
    assert (
        client.experiments.create(spec, idempotency_key="mine").id
        == client.experiments.create(spec, idempotency_key="mine").id
    )
    assert client.experiments.create(spec).id == "e2"


def test_what_must_not_happen_twice_is_sent_once(client: Client, service: Any) -> None:
    service.upset(httpx2.ReadError)
    with pytest.raises(Unavailable):
        client.keys.create("ci")
    assert len(service.sent) == 1


def test_an_error_of_the_request_is_not_sent_again(client: Client, service: Any, answering: Any) -> None:
    service.upset(answering["problem"](500, "internal", "A bug."))
    with pytest.raises(TransfusionError, match="A bug"):
        client.health()
    assert len(service.sent) == 1


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("7", 7.0), ("Sun, 22 Nov 2026 23:00:09 GMT", 9.0), ("Sun, 22 Nov 2026 22:00:00 GMT", 0.0), ("soon", 0.4)],
)
def test_retry_after_is_kept_as_seconds_or_as_a_date(
    client: Client, service: Any, clock: Any, answering: Any, written: str, seconds: float
) -> None:
    service.upset(answering["problem"](429, "unavailable", "Slower.", **{"Retry-After": written}))
    assert client.health()["status"] == "ok"
    (slept,) = clock.slept
    assert seconds <= slept <= seconds + 0.4, "not before, and not all at once"


def test_a_pause_beyond_the_deadline_is_not_begun(client: Client, service: Any, clock: Any, answering: Any) -> None:
    service.upset(answering["problem"](503, "unavailable", "Later.", **{"Retry-After": "3600"}))
    with pytest.raises(Unavailable, match="Later"):
        client.health()
    assert clock.slept == []


def test_an_address_that_cannot_be_spoken_to_is_not_tried_again(client: Client, service: Any) -> None:
    service.upset(httpx2.UnsupportedProtocol)
    with pytest.raises(Unavailable):
        client.health()
    assert len(service.sent) == 1


def test_the_key_is_sent_as_a_bearer(service: Any, transport: httpx2.BaseTransport) -> None:
    service.key = "secret"
    with Client("http://testserver:8000", "wrong", transport=transport) as client, pytest.raises(NotAuthenticated):
        client.runs.get("r1")
    with Client("http://testserver:8000", "secret", transport=transport) as client:
        assert client.runs.get("r1").id == "r1"
