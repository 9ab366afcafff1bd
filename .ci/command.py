"""Run a program beside this file, as in `command.py bench`: from its first import on, Ctrl-C ends it in make's one line."""

import runpy
import signal
import sys
from pathlib import Path

signal.signal(signal.SIGINT, signal.SIG_DFL)
del sys.argv[0]
sys.argv[0] = str(Path(__file__).with_name(f"{sys.argv[0]}.py"))
runpy.run_path(sys.argv[0], run_name="__main__")
