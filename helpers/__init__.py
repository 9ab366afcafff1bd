"""The small library behind the Flycatcher notebooks: finished versions of what the chapters build.

One file is one room, and the arrows between them go one way:

    data → text → attention → seq2seq, transformer → training → analysis → plots

`checks` (the exercise checkers) stands apart. Nothing here imports from a notebook.
"""
