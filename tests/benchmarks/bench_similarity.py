"""Seconds and memory of the similarity engine against plain implementations of the usual routes, on this machine.

Run `PYTHONPATH=core python tests/benchmarks/bench_similarity.py [pair|wide|conv|network|memory|gemm ...]`; all parts
unless named. The peers take whole matrices: QR and SVD for CCA, SVCCA and PWCCA, feature-space products for CKA and
Procrustes. They are written here, as fast as torch makes them, in the inputs' float32 (right to about 1e-6) and in
float64 (right to 1e-10); the engine sums in float64 whatever it multiplies in, and each of its two precisions stands
beside the peers of the same. Procrustes alone is summed without the layers' own scatters. Rounds alternate and the best
counts. Exits 1 where a bar is missed.
The C library is told to keep freed memory: whether it hands it back between two passes, to be faulted in again, is
chance, and worth a tenth of a forward pass to either side.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from transfusion_core.science.similarity import (
    Moments,
    Options,
    Sampling,
    cca,
    compare,
    linear_cka,
    measure,
    procrustes,
    pwcca,
    svcca,
)
from transfusion_core.science.similarity.products import Gemm

ROUNDS = 3
PAUSE_SECONDS = 0.1
"""Threads of torch's and numpy's libraries spin after the last call of one run, on the cores that the next needs."""
MEASURES: dict[str, Callable[[Moments], object]] = {
    "cca": cca,
    "svcca": svcca,
    "pwcca": pwcca,
    "cka": linear_cka,
    "cka_debiased": partial(linear_cka, debiased=True),
    "procrustes": procrustes,
}
SIX = tuple(MEASURES)
MISSED: list[str] = []


def beside(what: str, measured: float, most: float) -> str:
    """A measured share beside the most that it may be."""
    if measured > most:
        MISSED.append(f"{what}: {measured:.3g}, at most {most:g} wanted")
    return f"{measured:.2f} (bar {most:g}: {'missed' if measured > most else 'met'})"


# --- peers: whole matrices x (n, p), y (n, q) ---


def centred(x: Tensor) -> Tensor:
    return x - x.mean(0)


def peer_cca(x: Tensor, y: Tensor) -> Tensor:
    bases = [torch.linalg.qr(centred(each)).Q for each in (x, y)]
    return torch.linalg.svdvals(bases[0].T @ bases[1]).mean()


def peer_svcca(x: Tensor, y: Tensor) -> Tensor:
    def leading(layer: Tensor) -> Tensor:
        left, sizes, _ = torch.linalg.svd(centred(layer), full_matrices=False)
        share = sizes.square().cumsum(0) / sizes.square().sum()
        return left[:, : int((share < 0.99).sum()) + 1]

    return torch.linalg.svdvals(leading(x).T @ leading(y)).mean()


def peer_pwcca(x: Tensor, y: Tensor) -> Tensor:
    first, second = torch.linalg.qr(centred(x)).Q, torch.linalg.qr(centred(y)).Q
    left, values, _ = torch.linalg.svd(first.T @ second, full_matrices=False)
    weights = ((first @ left).T @ centred(x)).abs().sum(1)
    return weights @ values / weights.sum()


def peer_cka(x: Tensor, y: Tensor) -> Tensor:
    x, y = centred(x), centred(y)
    return (x.T @ y).norm() ** 2 / ((x.T @ x).norm() * (y.T @ y).norm())


def peer_cka_debiased(x: Tensor, y: Tensor) -> Tensor:
    n, x, y = len(x), centred(x), centred(y)
    k, l_ = x.square().sum(1), y.square().sum(1)

    def hsic(product: Tensor, one: Tensor, other: Tensor) -> Tensor:
        both = one.sum() * other.sum() / ((n - 1) * (n - 2))
        return product.norm() ** 2 + both - (one @ other) * (1 + 2 / (n - 2))

    return hsic(x.T @ y, k, l_) / (hsic(x.T @ x, k, k) * hsic(y.T @ y, l_, l_)).sqrt()


def peer_procrustes(x: Tensor, y: Tensor) -> Tensor:
    x, y = centred(x), centred(y)
    return 2 - 2 * torch.linalg.svdvals((x / x.norm()).T @ (y / y.norm())).sum()


PEERS = (peer_cca, peer_svcca, peer_pwcca, peer_cka, peer_cka_debiased, peer_procrustes)


# --- what is timed ---


def best(*runs: Callable[[], object], rounds: int = ROUNDS) -> list[float]:
    """Best seconds of each, in alternating rounds after one of warming up."""
    found = [float("inf")] * len(runs)
    for turn in range(rounds + 1):
        for index, run in enumerate(runs):
            time.sleep(PAUSE_SECONDS)
            started = time.perf_counter()
            run()
            if turn or rounds == 0:
                found[index] = min(found[index], time.perf_counter() - started)
    return found


def layers(n: int, p: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, p, generator=generator)
    return x, x + torch.randn(n, p, generator=generator)


def summed(x: Tensor, y: Tensor, gemm: str = "float64", *, scatters: bool = True) -> Moments:
    moments = Moments(x.shape[1], y.shape[1], gemm=gemm, scatters=scatters)  # type: ignore[arg-type]
    moments.update(x, y)
    return moments


def all_six(moments: Moments) -> None:
    measure(moments, SIX)


def matrices(n: int, p: int, share: float, *, rounds: int) -> None:
    """One pair of layers as matrices: all six together, and each alone, against the peers."""
    x, y = layers(n, p)
    of_peers: dict[Gemm, tuple[Tensor, Tensor]] = {"float64": (x.double(), y.double()), "float32": (x, y)}
    together: dict[Gemm, float] = {}
    for dtype, (of_x, of_y) in of_peers.items():
        runs: list[Callable[[], object]] = [partial(peer, of_x, of_y) for peer in PEERS]
        runs.append(lambda dtype=dtype: all_six(summed(x, y, dtype)))
        runs += [
            lambda one=one, dtype=dtype: one(summed(x, y, dtype, scatters=one is not procrustes))
            for one in MEASURES.values()
        ]
        found = best(*runs, rounds=rounds)
        peers, together[dtype], alone = found[:6], found[6], found[7:]
        print(
            f"{n} x {p}, {dtype} products: all six {together[dtype]:.3f} s, peers in {dtype} {sum(peers):.2f} s: ",
            end="",
        )
        print(
            beside(f"{p} wide, {dtype}", together[dtype] / sum(peers), share), f"= 1/{sum(peers) / together[dtype]:.1f}"
        )
        for name, one, other in zip(MEASURES, alone, peers, strict=True):
            share_alone = beside(f"{name} alone, {p} wide, {dtype}", one / other, 1)
            print(f"  {name:13s} alone {one:.3f} s, peer {other:.3f} s: {share_alone}")
    wide_x, wide_y = of_peers["float64"]
    scatter = wide_x.T @ wide_x
    products, eigen = best(partial(times, wide_x, wide_y), lambda: torch.linalg.eigh(scatter), rounds=rounds)
    floor = 3 * products + 2 * eigen
    print(f"  three products and two eigendecompositions {floor:.2f} s, all six in float64", end=" ")
    print(beside(f"{p} wide against its floor", together["float64"] / floor, 2), "of it")


def conv_samples(maps: Tensor) -> Tensor:
    """Every position of (n, c, h, w) a sample, channels first in memory; by numpy, as the sums are."""
    images, channels, height, width = maps.shape
    rows = maps.numpy().transpose(1, 0, 2, 3).reshape(channels, images * height * width)
    return torch.from_numpy(rows).T


def conv_pair(a: Tensor, b: Tensor, gemm: str = "float64") -> Moments:
    moments = Moments(a.shape[1], b.shape[1], gemm=gemm)  # type: ignore[arg-type]
    moments.update_maps(a, b)
    return moments


def conv_maps() -> tuple[Tensor, Tensor]:
    a = torch.randn(512, 256, 28, 28, generator=torch.Generator().manual_seed(0))
    return a, a + torch.randn(512, 256, 28, 28, generator=torch.Generator().manual_seed(1))


def conv() -> None:
    """512 maps of 256 x 28 x 28, every position a sample."""
    a, b = conv_maps()
    x, y = conv_samples(a).contiguous(), conv_samples(b).contiguous()
    for gemm in ("float32", "float64"):
        (ours,) = best(lambda gemm=gemm: all_six(conv_pair(a, b, gemm)), rounds=ROUNDS)
        x, y = (each.to(getattr(torch, gemm)) for each in (x, y))
        peers = [best(partial(peer, x, y), rounds=0)[0] for peer in PEERS]
        print(
            f"512 x 256 x 28 x 28, {gemm} products: all six {ours:.2f} s, peers in {gemm} {sum(peers):.1f} s: ", end=""
        )
        print(beside(f"conv, {gemm}", ours / sum(peers), 1 / 40), f"= 1/{sum(peers) / ours:.1f};", end=" ")
        print(" ".join(f"{each:.2f}" for each in peers))


def gemm() -> None:
    """The accumulation's share of the machine's own rate of products, float64 and float32.

    Counted are the operations that are done: of a layer with itself half a product.
    """
    for p in (512, 1024, 2048):
        x, y = layers(8192, p)
        for dtype in ("float64", "float32"):
            a, b = (each.to(getattr(torch, dtype)) for each in (x, y))
            ours, *products = best(
                lambda dtype=dtype, x=x, y=y: summed(x, y, dtype), partial(times, a, b), partial(torch.matmul, a.T, b)
            )
            product = min(products)
            taken = beside(f"accumulation in {dtype}, {p} wide, of products alone", ours / (2 * product), 1 / 0.6)
            rate = 2e-9 * 8192 * p * p / product
            print(f"  {p} wide, {dtype}: {2 * product / ours:.0%} of {rate:.0f} GFlop/s, {taken} of the time of two")


def times(a: Tensor, b: Tensor) -> object:
    """The product by numpy's library."""
    return a.numpy().T @ b.numpy()


def networks() -> tuple[nn.Module, nn.Module, list[str]]:
    torch.manual_seed(0)
    a, b = (timm.create_model("resnet18").eval() for _ in range(2))
    return a, b, [name for name, module in a.named_modules() if isinstance(module, nn.Conv2d)]


def forward(models: tuple[nn.Module, ...], images: Tensor) -> None:
    with torch.inference_mode():
        for batch in torch.split(images, 64):
            for model in models:
                model(batch)


BARS = {"diagonal, six measures, 64 positions": 1.3, "20 x 20 CKA, averaged maps": 1.2}


def network() -> None:
    """ResNet-18 at 64 px, 1,000 images, its 20 convolutions, against the two forward passes alone."""
    a, b, names = networks()
    images = torch.randn(1000, 3, 64, 64)
    bare = Options(sampling=Sampling(64), intervals=False, permute=False)
    averaged = Options(sampling=Sampling(None), intervals=False, permute=False)
    sampled = Options(sampling=Sampling(16), intervals=False, permute=False)
    fast = {"gemm": "float32"}
    run = partial(compare, a, b, images, layers=names)
    table: dict[str, Callable[[], object]] = {
        "diagonal, six measures, 64 positions": partial(run, measures=SIX, options=bare),
        "  with float32 products": partial(run, measures=SIX, options=with_(bare, **fast)),
        "  with nulls and intervals": partial(run, measures=SIX, options=Options(sampling=Sampling(64))),
        "20 x 20 CKA, averaged maps": partial(run, pairs="all", measures=["cka"], options=averaged),
        "  averaged maps, float32 products": partial(
            run, pairs="all", measures=["cka"], options=with_(averaged, **fast)
        ),
        "20 x 20 CKA, 16 positions": partial(run, pairs="all", measures=["cka"], options=sampled),
    }
    seconds = best(lambda: forward((a, b), images), *table.values(), rounds=3)
    print(f"two forward passes {seconds[0]:.2f} s")
    for (name, _), one in zip(table.items(), seconds[1:], strict=True):
        ratio = one / seconds[0]
        print(f"  {name:40s} {one:6.2f} s =", beside(name, ratio, BARS[name]) if name in BARS else f"{ratio:.2f} x")


def with_(options: Options, **changes: object) -> Options:
    return Options(**(vars(options) | changes))  # type: ignore[arg-type]


def memory_mb(which: str) -> float:
    """Resident memory of this process: `VmRSS` now, `VmHWM` at its highest."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(which))


def beyond(part: str) -> None:
    """Print by how much a part's peak memory exceeds what stood before it; run in a fresh process."""
    if part.startswith("network"):
        a, b, names = networks()
        images = torch.randn(int(part.removeprefix("network-")), 3, 64, 64)
        forward((a, b), images[:128])
        run: Callable[[], object] = partial(
            compare, a, b, images, layers=names, measures=SIX, options=Options(sampling=Sampling(16))
        )
    elif part == "conv":
        a_maps, b_maps = conv_maps()
        all_six(summed(*layers(600, 256)))
        run = lambda: all_six(conv_pair(a_maps, b_maps))  # noqa: E731
    else:
        x, y = layers(10_000, 512)
        all_six(summed(*layers(600, 64)))
        run = lambda: all_six(summed(x, y))  # noqa: E731
    Path("/proc/self/clear_refs").write_text("5")  # forgets the highest so far
    before = memory_mb("VmRSS")
    run()
    print(memory_mb("VmHWM") - before)


def memory() -> None:
    """Peak memory beyond the inputs, each in a process of its own; of networks at two numbers of images."""
    found = {}
    for part in ("pair", "conv", "network-1000", "network-10000"):
        plain = {name: value for name, value in os.environ.items() if name not in KEEPING}
        command = [sys.executable, __file__, "--beyond", part]
        found[part] = float(subprocess.run(command, check=True, env=plain, stdout=subprocess.PIPE).stdout)
        print(f"  {part}: {found[part]:.0f} MB", beside(part, found[part], MOST_MB[part]) if part in MOST_MB else "")
    print("  of ten times the images", beside("memory growth", found["network-10000"] / found["network-1000"], 1.1))


MOST_MB = {"pair": 150, "conv": 60}
KEEPING = {"MALLOC_TRIM_THRESHOLD_": "1000000000", "MALLOC_MMAP_MAX_": "0"}
PARTS: dict[str, Callable[[], None]] = {
    "pair": partial(matrices, 10_000, 512, 1 / 8, rounds=ROUNDS),
    "wide": partial(matrices, 10_000, 2048, 1 / 6, rounds=1),
    "conv": conv,
    "gemm": gemm,
    "network": network,
    "memory": memory,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--beyond", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.beyond:
        beyond(chosen.beyond)
    elif KEEPING.items() - os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | KEEPING)
    for name in (chosen.parts or PARTS) if not chosen.beyond else []:
        print(f"-- {name}", flush=True)
        PARTS[name]()
    sys.exit("\n".join(["missed:", *MISSED]) if MISSED else 0)
