import torch

from transfusion_core.science.models.seeds import derived_seed, generator


def test_a_stream_depends_on_the_seed_and_on_its_name() -> None:
    seeds = {derived_seed(seed, name) for seed in range(10) for name in ("init", "order", "init/a")}
    assert len(seeds) == 30
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_the_same_stream_gives_the_same_numbers_always() -> None:
    assert derived_seed(0, "init") == 1519069808562059438  # the first 16 hex digits of `sha256sum`, halved
    assert torch.equal(torch.rand(4, generator=generator(1, "x")), torch.rand(4, generator=generator(1, "x")))
