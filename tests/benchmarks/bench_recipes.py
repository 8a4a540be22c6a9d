"""How many images per second of processor time each recipe draws: run with OMP_NUM_THREADS=1, not part of the tests."""

import argparse
import time

from transfusion_core.science.data.recipes import RECIPES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--size", type=int, default=64)
    arguments = parser.parse_args()
    for name, draw in RECIPES.items():
        list(draw(64, seed=1, size=arguments.size))
        begun = time.process_time()
        for _ in draw(arguments.images, seed=0, size=arguments.size):
            pass
        print(f"{name}: {arguments.images / (time.process_time() - begun):.0f} images/s at {arguments.size} px")


if __name__ == "__main__":
    main()
