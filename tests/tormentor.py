"""A whole service whose parts are killed at random while it works, and started again as an orchestrator would."""

import os
import random
import secrets
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from redis import Redis
from redis.exceptions import RedisError

from fault_proxy import FaultProxy, fault_proxy
from platforms import TRANSFUSION, add_few_demos, job_children, start, stop, until
from redis_server import RedisServer, own_redis
from s3_server import KEY as S3_KEY
from s3_server import SECRET as S3_SECRET
from s3_server import shared_s3
from servers import PostgresCluster, free_port, postgres_cluster
from transfusion_client import Client
from transfusion_core.errors import TransfusionError

ADMIN = "tf_admin_of_this_test_and_of_nothing_else"
LEASE_SECONDS = 4.0
WORKERS = 2
Found = TypeVar("Found")
PARTS = {"api": 1, "worker": WORKERS}


class Service:
    """PostgreSQL, Redis, a real S3 server behind a proxy, the API and workers; what ends is started again."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.postgres: PostgresCluster = stack.enter_context(postgres_cluster())
        self.redis: RedisServer = stack.enter_context(own_redis())
        self.s3: FaultProxy = stack.enter_context(fault_proxy(shared_s3()))
        self.port = free_port()
        self.cache = folder / "cache"
        self.environment = self._environment(folder)
        subprocess.run([str(TRANSFUSION), "migrate"], check=True, env=os.environ | self.environment, timeout=60)
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self._closing = threading.Event()
        self._keeper = threading.Thread(target=self._keep_alive, name="keeper", daemon=True)
        self._keeper.start()

    def _environment(self, folder: Path) -> dict[str, str]:
        settings = {
            "DATABASE_URL": self.postgres.url(),
            "BROKER_URL": self.redis.url,
            "S3_ENDPOINT_URL": f"http://127.0.0.1:{self.s3.port}",
            "STORE_URL": f"s3://torment-{secrets.token_hex(4)}/v1",
            "CACHE_DIR": str(self.cache),
            "ADMIN_KEY": ADMIN,
            "LEASE_SECONDS": str(LEASE_SECONDS),
            "BEAT_SECONDS": "0.5",
            "POLL_SECONDS": "1",
            "RETRY_SECONDS": "0.2",
            "RESUME_STEPS": "2",
            "SLOTS": "1",
            "THREADS_PER_JOB": "1",  # two workers share the cores: of two threads each, both would wait for both
            "MAX_CRASHES": "9",  # the tormentor hits some jobs three times; that three are enough is tested elsewhere
            "MAX_OUTAGES": "99",
        }
        aws = {"AWS_ACCESS_KEY_ID": S3_KEY, "AWS_SECRET_ACCESS_KEY": S3_SECRET}
        return {f"TRANSFUSION_{name}": value for name, value in settings.items()} | aws

    def client(self) -> Client:
        """A client with the admin key."""
        return Client(f"http://127.0.0.1:{self.port}", ADMIN)

    def workers(self) -> list[int]:
        """Process ids of the workers."""
        return [process.pid for name, process in self.processes.items() if name.startswith("worker")]

    def close(self) -> None:
        """Stop API and workers softly."""
        self._closing.set()
        self._keeper.join(30)
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            stop(process)

    def _keep_alive(self) -> None:
        while not self._closing.wait(0.1):
            for part, count in PARTS.items():
                for number in range(count):
                    self._start_unless_alive(part, f"{part}-{number}")

    def _start_unless_alive(self, part: str, name: str) -> None:
        process = self.processes.get(name)
        if process is not None and process.poll() is None:
            return
        arguments = ["api", "--port", str(self.port)] if part == "api" else ["worker", "--queues", "gpu,cpu"]
        self.processes[name] = start(arguments, ready=None, environment=self.environment).process


@contextmanager
def service(folder: Path) -> Iterator[Service]:
    """A running service."""
    with ExitStack() as stack:
        made = Service(stack, folder)
        stack.callback(made.close)
        with made.client() as client:
            until(lambda: patiently(client.health), "the API")
            add_few_demos(client)
        yield made


def patiently(call: Callable[[], Found], seconds: float = 180) -> Found:
    """What a client gets that does not give up: parts of the service are away now and then."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return call()
        except TransfusionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


class Tormentor:
    """Does one thing after another to a service, in a thread, and counts what it did."""

    def __init__(
        self,
        service: Service,
        *,
        seed: int,
        every_seconds: float,
        acts: int | None = None,
        spared: Collection[str] = (),
    ) -> None:
        """`acts` is how many it does at most; those whose names are `spared` it does not do."""
        self._service, self._draw, self._every_seconds = service, random.Random(seed), every_seconds
        self._left = acts
        self.done: Counter[str] = Counter()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._torment, name="tormentor", daemon=True)
        known: list[Callable[[], object]] = [
            self.kill_worker,
            self.kill_child,
            self.kill_child,
            self.kill_fork_server,
            self.kill_api,
            self.stop_worker_softly,
            self.freeze_worker,
            self.restart_redis_empty,
            self.double_messages,
            self.restart_postgres,
            self.cut_s3,
            self.slow_s3,
        ]
        self._acts = [act for act in known if act.__name__ not in spared]

    def __enter__(self) -> "Tormentor":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ending.set()
        self._thread.join(60)

    @property
    def kills(self) -> int:
        """How many processes were killed."""
        return sum(count for name, count in self.done.items() if name.startswith("kill"))

    def _torment(self) -> None:
        turn = list(self._acts)  # each once, then at random
        self._draw.shuffle(turn)
        while not self._ending.wait(self._draw.uniform(0, 2 * self._every_seconds)):
            act = turn[-1] if turn else self._draw.choice(self._acts)
            if not act():
                turn = turn[-1:] + turn[:-1]  # there is nothing to be killed at this moment
                continue
            self.done[act.__name__] += 1
            turn = turn[:-1]
            if self._left is not None and self.done.total() >= self._left:
                return

    def kill_worker(self) -> bool:
        """kill -9 of a worker; its children die with it."""
        return self._signal_worker(signal.SIGKILL)

    def kill_api(self) -> bool:
        """kill -9 of the API."""
        return self._signal(self._service.processes["api-0"].pid, signal.SIGKILL)

    def kill_child(self) -> bool:
        """kill -9 of a child at work."""
        children = [child for worker in self._service.workers() for child in job_children(worker)]
        return bool(children) and self._signal(self._draw.choice(children), signal.SIGKILL)

    def kill_fork_server(self) -> bool:
        """kill -9 of what a worker's children are forked from."""
        servers = [pid for worker in self._service.workers() for pid in _children(worker)]
        return bool(servers) and self._signal(self._draw.choice(servers), signal.SIGKILL)

    def stop_worker_softly(self) -> bool:
        """SIGTERM, as for an update."""
        return self._signal_worker(signal.SIGTERM)

    def freeze_worker(self) -> bool:
        """SIGSTOP for longer than a lease, then SIGCONT."""
        for worker in self._at_work()[:1]:
            frozen = self._signal(worker, signal.SIGSTOP)
            self._ending.wait(1.25 * LEASE_SECONDS)
            return self._signal(worker, signal.SIGCONT) and frozen
        return False

    def restart_redis_empty(self) -> bool:
        """The broker dies, and comes back without its data."""
        self._service.redis.kill()
        self._ending.wait(self._draw.uniform(0, 1))
        self._service.redis.start()
        return True

    def double_messages(self) -> bool:
        """Every message that waits comes three times, and there is rubbish among them."""
        with suppress(RedisError):
            redis = Redis.from_url(self._service.redis.url)
            for queue in ("cpu", "gpu"):
                for message in redis.lrange(queue, 0, -1):
                    redis.rpush(queue, message, message)
                redis.rpush(queue, b"rubbish")
            redis.close()
        return True

    def restart_postgres(self) -> bool:
        """The database loses its power, and comes back."""
        self._service.postgres.stop()
        self._ending.wait(self._draw.uniform(0, 1))
        self._service.postgres.start()
        return True

    def cut_s3(self) -> bool:
        """The store is away for a moment, in the middle of whatever it does."""
        self._service.s3.faults.is_refusing = True
        self._service.s3.reset()
        self._ending.wait(self._draw.uniform(0.5, 2))
        self._service.s3.heal()
        return True

    def slow_s3(self) -> bool:
        """The store is slow, and answers end in the middle."""
        self._service.s3.faults.latency_seconds = 0.05
        self._service.s3.faults.cut_bytes = 20_000
        self._ending.wait(self._draw.uniform(0.5, 2))
        self._service.s3.heal()
        return True

    def _signal_worker(self, number: int) -> bool:
        return any(self._signal(worker, number) for worker in self._at_work()[:1])

    def _at_work(self) -> list[int]:
        """Workers that have got to their jobs, in any order: one that is killed while it starts shows nothing."""
        workers = [
            worker for worker in self._service.workers() if list(self._service.cache.glob(f"*/*:{worker}:*/pulse"))
        ]
        return self._draw.sample(workers, len(workers))

    @staticmethod
    def _signal(pid: int, number: int) -> bool:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        return True


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
