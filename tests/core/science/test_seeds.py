import torch

from transfusion_core.science.seeds import derive, generator, seed_dropout


def test_a_derived_seed_is_the_recorded_one_for_ever() -> None:
    assert derive(0, "order") == 7990785514659823761  # sha256 of '[0, "order"]', computed apart
    assert 0 <= derive(0, "order") < 2**63


def test_streams_of_other_seeds_names_and_splittings_differ() -> None:
    seeds = [
        derive(1, "a", "b"),
        derive(1, "ab"),
        derive(1, "a/b"),
        derive(2, "a", "b"),
        derive(1, "b", "a"),
        derive(1),
    ]
    assert len(set(seeds)) == len(seeds)


def test_generators_of_one_name_draw_the_same() -> None:
    a, b = (torch.rand(5, generator=generator(3, "x")) for _ in range(2))
    assert torch.equal(a, b)
    assert not torch.equal(a, torch.rand(5, generator=generator(3, "y")))


def test_dropout_is_a_function_of_seed_and_step() -> None:
    def draw(seed: int, step: int) -> torch.Tensor:
        seed_dropout(seed, step=step, device=torch.device("cpu"))
        return torch.rand(4)

    with torch.random.fork_rng(devices=[]):
        first = draw(1, 7)
        assert not torch.equal(first, draw(1, 8))
        assert not torch.equal(first, draw(2, 7))
        assert torch.equal(first, draw(1, 7))
