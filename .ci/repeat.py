"""Run the tests again in other surroundings: `repeat.py SURROUNDINGS [CHAPTER]`, called by `make repeat`.

SURROUNDINGS is a name of the table below, or `all`. Each turn runs everything that `make test` runs under pytest (or one
chapter's notebooks), every output compared. One difference and the command fails.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SURROUNDINGS = {  # name: (what it stands for, variables of the environment)
    "native": ("this machine as it is", {}),
    "portable": (
        "the oldest processor that PyTorch runs on",
        {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "ONEDNN_MAX_CPU_ISA": "SSE41"},
    ),
    "avx2": (
        "a processor without AVX-512",
        {"ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    ),
    "busy": ("every core busy with another process", {}),
    "agg": ("a shell that asks for figures in files", {"MPLBACKEND": "Agg"}),
    "ascii": (
        "files without an encoding, as on Windows",
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ),
    "hash": ("sets and dictionaries in another order", {"PYTHONHASHSEED": "12345"}),
    "edges": (
        "numbers that lie beside a rounding edge are marked",
        {"PYTHONPATH": os.pathsep.join([str(ROOT / ".ci" / "edges"), str(ROOT)])},
    ),
    "two": ("two threads", {"OMP_NUM_THREADS": "2"}),
    "four": ("four threads", {"OMP_NUM_THREADS": "4"}),
}


BUSY = "import signal; signal.signal(signal.SIGINT, signal.SIG_DFL)\nwhile True: pass"  # which Ctrl-C ends


@contextlib.contextmanager
def load(processes):
    """Keep as many cores busy as long as the block runs."""
    busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def notebooks(chapter):
    """Return the notebooks of a chapter, its solutions and its study; nothing, which means all tests, without one."""
    return sorted(map(str, (ROOT / "notebooks").rglob(f"{chapter.zfill(2)}*.ipynb"))) if chapter else []


def turn(name, paths):
    """Run the tests once; return whether they passed, and pytest's summary line."""
    _, variables = SURROUNDINGS[name]
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | variables
    # Two notebooks side by side only with one thread each: more threads than cores wait for each other.
    workers = (
        ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"] if environment["OMP_NUM_THREADS"] == "1" else []
    )
    command = [sys.executable, "-m", "pytest", "--nbval", "--tb=short", *workers, *paths]
    with load(os.cpu_count() if name == "busy" else 0):
        done = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, encoding="utf-8", errors="replace"
        )
    lines = done.stdout.strip().splitlines() or ["no output"]
    if done.returncode:
        print("\n".join(line for line in lines if line.startswith(("FAILED", "ERROR", "E "))), flush=True)
    return done.returncode == 0, lines[-1].strip("= ")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("surroundings", choices=["all", *SURROUNDINGS])
    parser.add_argument("chapter", nargs="?", default="", help="its number, as 05; all if left out")
    given = parser.parse_args()
    names = list(SURROUNDINGS) if given.surroundings == "all" else [given.surroundings]
    good = 0
    for name in names:
        start = time.perf_counter()
        same, summary = turn(name, notebooks(given.chapter))
        good += same
        seconds = time.perf_counter() - start
        print(f"{name}, {SURROUNDINGS[name][0]}: {summary} ({seconds:.0f} s)", flush=True)
    print(f"{good} of {len(names)} surroundings without a difference")
    sys.exit(good != len(names))


if __name__ == "__main__":
    main()
