"""Ingest and pixels of realistic JPEGs against a bare decode and resize, over all cores, and the memory that they take.

Run `PYTHONPATH=core:worker python tests/benchmarks/bench_ingest.py [--images 50000]`. `bare`: Pillow or torchvision
open each file, decode it and resize it, antialiased, and drop it; by threads or processes. `ingest`: the jobs `ingest`
and `pixels` as a worker does them, down to the disk. Rounds alternate, the best of each counts, on the wall clock and,
since other work on the machine matters less there, in seconds of processors. Memory is that of all processes of the
jobs together.
"""

import argparse
import gc
import io
import multiprocessing
import os
import resource
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms.v2.functional import resize

from transfusion_core.science.data.recipes import RECIPES
from transfusion_core.science.data.recipes.canvas import Drawn
from transfusion_core.settings import Settings
from transfusion_core.specs.dataset import DatasetSpec, Pixels
from transfusion_core.specs.pixels import pixels_draft
from transfusion_core.store import open_store
from transfusion_worker.assignment import Assignment, Need, open_settings
from transfusion_worker.context import JobContext
from transfusion_worker.jobs import ingest, pixels

SIDE, SIZE, DRAWN, DIFFERENT = 512, 224, 40, 1000
"""Pixels a side of the files and of what they become; pictures that are drawn, and that differ by more than a name."""
CORES = os.cpu_count() or 1
WATCH_SECONDS = 0.05
FORK = multiprocessing.get_context("fork")
"""As a worker's jobs begin: with the libraries loaded."""


@dataclass(frozen=True)
class Pass:
    """One pass over all images."""

    seconds: float
    cpu_seconds: float
    memory_bytes: int = 0


def draw(folder: Path, count: int) -> int:
    """Files `0/..` and `1/..` of fundus-like pictures with a camera's noise; the mean of their bytes."""
    drawn = Drawn.whole(RECIPES["demo-retina"](DRAWN, seed=0, size=SIDE)).images
    random, sizes = np.random.default_rng(0), []
    for number in range(count):
        path = folder / str(number % 2) / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number >= DIFFERENT:
            os.link(folder / str(number % 2) / f"{number % DIFFERENT}.jpg", path)
            continue
        moved = np.roll(drawn[number % DRAWN], random.integers(-40, 40, 2), axis=(0, 1)).astype(np.float32)
        noise = random.normal(0, 9, (SIDE, SIDE, 3)) * random.uniform(0.7, 1.1)
        stream = io.BytesIO()
        Image.fromarray(np.clip(moved + noise, 0, 255).astype(np.uint8)).save(stream, "JPEG", quality=82)
        path.write_bytes(stream.getvalue())
        sizes.append(path.stat().st_size)
    return round(float(np.mean(sizes)))


def by_pillow(path: str) -> int:
    """One image, decoded and resized by Pillow."""
    with Image.open(path) as image:
        return int(np.asarray(image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR))[0, 0, 0])


def by_torchvision(path: str) -> int:
    """One image, decoded and resized by torchvision."""
    return int(resize(decode_jpeg(read_file(path), mode=ImageReadMode.RGB), [SIZE, SIZE], antialias=True)[0, 0, 0])


def cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def timed(work: Callable[[], object]) -> Pass:
    """How long it takes."""
    begun, used = time.perf_counter(), cpu_seconds()
    work()
    return Pass(time.perf_counter() - begun, cpu_seconds() - used)


def bare(one: Callable[[str], int], files: list[str], pool: Callable[[], Executor]) -> None:
    """All files by a pool."""
    with pool() as workers:
        for _ in workers.map(one, files, chunksize=64):
            pass


def job(folder: Path, kind: str, spec: dict[str, object], needs: Iterable[Need] = ()) -> JobContext:
    """What a worker gives to a job."""
    settings = Settings(mode="embedded", store_url=f"file://{folder}/store", cache_dir=folder / "cache")
    scratch = folder / f"scratch-{kind}"
    scratch.mkdir()
    assignment = Assignment(
        job_id=kind, attempt=1, kind=kind, spec=spec, needs=list(needs), settings=open_settings(settings),
        scratch=str(scratch), device="cpu", threads=CORES,
    )  # fmt: skip
    return JobContext(
        assignment, settings=settings, store=open_store(settings), tell=lambda message: None, stop=threading.Event()
    )


def jobs(folder: Path, source: Path, at_once: bool) -> None:
    """Ingest and pixels; `at_once`: the ingest is told the size, else every file is decoded twice."""
    torch.set_num_threads(1)
    words = {"name": "d", "kind": "folder", "location": source.as_uri(), "image_sizes": [SIZE] if at_once else []}
    spec = DatasetSpec.model_validate(words).resolved()
    found = ingest.run(job(folder, "ingest", spec.model_dump(mode="json")))
    need = Need(id="0", key="0" * 64, kind="ingest", state="succeeded", spec={}, result=found)
    draft = pixels_draft(need.key, SIZE)
    made = Pixels.model_validate(pixels.run(job(folder, "pixels", draft.spec, [need])))
    assert sum(shard.images for shard in made.shards) == found["images"]


def ingested(source: Path, at_once: bool) -> Pass:
    """The jobs in a process of their own, and the most memory that it and its children held."""
    with tempfile.TemporaryDirectory() as folder:
        process = FORK.Process(target=jobs, args=(Path(folder), source, at_once))
        most = 0

        def work() -> None:
            nonlocal most
            process.start()
            while process.is_alive():
                most = max(most, resident_bytes(process.pid or 0))
                process.join(WATCH_SECONDS)

        done = timed(work)
        assert process.exitcode == 0
        return Pass(done.seconds, done.cpu_seconds, most)


def resident_bytes(pid: int) -> int:
    """Memory of a process and of all below it; what they share counts more than once."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        tasks = [task / "children" for task in Path(f"/proc/{pid}/task").iterdir()]
        below = [int(child) for task in tasks for child in task.read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return pages * resource.getpagesize() + sum(map(resident_bytes, below))


def main() -> None:
    """Print a line per way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()  # as a worker's fork server does with what it has imported; the bare ways have the same of it
    with tempfile.TemporaryDirectory() as name:
        source = Path(name)
        size_bytes = draw(source, arguments.images)
        files = sorted(str(path) for path in source.rglob("*.jpg"))
        print(f"{len(files)} JPEGs of {SIDE} px, {size_bytes / 1000:.0f} kB each, to {SIZE} px on {CORES} cores")
        ways: dict[str, Callable[[], Pass]] = {
            f"bare {library}, {by}": partial(timed, partial(bare, one, files, pool))
            for library, one in (("Pillow", by_pillow), ("torchvision", by_torchvision))
            for by, pool in (
                ("threads", partial(ThreadPoolExecutor, CORES)),
                ("processes", partial(ProcessPoolExecutor, CORES, mp_context=FORK)),
            )
        }
        ways["ingest and pixels, one decode"] = partial(ingested, source, True)
        ways["ingest, then pixels"] = partial(ingested, source, False)
        passes: dict[str, list[Pass]] = {way: [] for way in ways}
        for _ in range(arguments.rounds):
            for way, work in ways.items():
                passes[way].append(work())
        told = {way: tell(way, each, len(files)) for way, each in passes.items()}
        for library in ("Pillow", "torchvision"):
            rates = [rate for way, rate in told.items() if way.startswith(f"bare {library}")]
            wall, cpu = max(rate[0] for rate in rates), max(rate[1] for rate in rates)
            ours = told["ingest and pixels, one decode"]
            clock, processors = ours[0] / wall, ours[1] / cpu
            print(f"one decode against bare {library}: {clock:.2f} by the clock, {processors:.2f} by processors")


def tell(way: str, passes: list[Pass], images: int) -> tuple[float, float]:
    """Print a way's best; its images per second, and per second of a processor."""
    wall, cpu = (images / min(getattr(each, name) for each in passes) for name in ("seconds", "cpu_seconds"))
    most = max(each.memory_bytes for each in passes)
    memory = f", {most / 2**20:.0f} MiB at most" if most else ""
    print(f"{way}: {wall:.0f} images/s, {cpu:.0f} per second of a processor{memory}")
    return wall, cpu


if __name__ == "__main__":
    main()
