"""The doorbell rings where there is a broker, and holds nobody up where there is none."""

import json
import socket
import time

import pytest

from transfusion_core.queue import TASK, celery_app, ring


@pytest.fixture
def app():
    app = celery_app("memory://localhost")
    with app.connection_for_write() as connection:
        for queue in ("cpu", "gpu"):
            connection.default_channel.queue_declare(queue)
            connection.default_channel.queue_purge(queue)
    return app


def heard(app, queue: str):
    with app.connection_for_read() as connection:
        while (message := connection.default_channel.basic_get(queue, no_ack=True)) is not None:
            yield message


def test_a_ring_says_look_and_names_a_job_for_the_log(app):
    ring(app, ["gpu", "cpu", "gpu"], "job-1")
    for queue in ("cpu", "gpu"):
        (message,) = heard(app, queue)
        assert message.headers["task"] == TASK
        assert message.content_type == "application/json"
        assert json.loads(message.body)[1] == {"job": "job-1"}


def test_no_queue_no_ring(app):
    ring(app, [])
    assert list(heard(app, "cpu")) == []


def test_a_message_carries_no_result_and_no_retry(app):
    assert app.backend.as_uri() == "disabled://"
    assert app.conf.accept_content == ["json"]
    assert not app.conf.task_acks_late
    assert not app.conf.worker_cancel_long_running_tasks_on_connection_loss


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_that_refuses_holds_nobody_up(scheme, caplog):
    app = celery_app(f"{scheme}://127.0.0.1:9/0")
    started = time.monotonic()
    ring(app, ["gpu", "cpu"])
    assert time.monotonic() - started < 1
    assert "workers will find the work by themselves" in caplog.text


def test_a_ring_leaves_no_default_for_the_sockets_of_the_process(app, monkeypatch):
    """The moment is a fifth of a millisecond: a consumer cleans up while the ring does, and what it set is put back."""

    def collect(*_, **__):
        socket.setdefaulttimeout(5)
        raise OSError("connection lost")

    monkeypatch.setattr(app, "send_task", collect)
    ring(app, ["cpu"])
    assert socket.getdefaulttimeout() is None


def test_a_broker_that_never_answers_holds_nobody_up(caplog):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        app = celery_app(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        started = time.monotonic()
        ring(app, ["gpu"])
        assert time.monotonic() - started < 1
    assert "takes its time" in caplog.text


def test_a_queue_that_is_none_is_a_line_in_the_log(app, caplog):
    ring(app, ["tpu"])
    assert "did not ring" in caplog.text


def test_redis_is_asked_for_health_and_given_deadlines():
    options = celery_app("redis://localhost/0").conf.broker_transport_options
    assert {"health_check_interval", "socket_timeout", "socket_connect_timeout"} <= set(options)
    assert celery_app("redis://localhost/0").conf.worker_disable_prefetch
    assert not celery_app("memory://").conf.worker_disable_prefetch
