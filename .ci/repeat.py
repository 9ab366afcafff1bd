"""Execute the whole series again and again, in different surroundings, and compare every output. Called by `make repeat`.

Each turn runs pytest with nbval over all notebooks: with another number of threads, another seed for Python's hashes,
and in the plain "C" locale. One difference and the command fails.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
THREADS = (1, 2, 4)


def turn(number, threads):
    """Run the series once; return whether every output was as stored, and pytest's summary line."""
    surroundings = os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "PYTHONHASHSEED": str(number),
        "LANG": "C",
        "LC_ALL": "C",
    }
    # Two notebooks side by side only with one thread each: more threads than cores wait for each other.
    side_by_side = ["-n", "2", "--dist", "loadfile"] if threads == 1 else []
    command = [sys.executable, "-m", "pytest", "--nbval", "--tb=short", *side_by_side, "notebooks"]
    done = subprocess.run(command, cwd=ROOT, env=surroundings, capture_output=True, text=True, encoding="utf-8")
    lines = done.stdout.strip().splitlines() or ["no output"]
    if done.returncode:
        print("\n".join(line for line in lines if line.startswith(("FAILED", "ERROR", "E "))), flush=True)
    return done.returncode == 0, lines[-1].strip("= ")


def main(turns=10):
    """Run all turns; exit with 1 if one differed."""
    good = 0
    for number in range(turns):
        threads = THREADS[number % len(THREADS)]
        start = time.perf_counter()
        same, summary = turn(number, threads)
        good += same
        print(
            f"turn {number + 1} of {turns}, {threads} threads, PYTHONHASHSEED={number}, LANG=C: {summary} "
            f"({time.perf_counter() - start:.0f} s)",
            flush=True,
        )
    print(f"{good} of {turns} turns without a difference")
    sys.exit(good != turns)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
