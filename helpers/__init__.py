"""The small library behind the Flycatcher notebooks: finished versions of what the chapters build.

One file is one room, and the arrows between them go one way:

    data → text → attention → seq2seq, transformer → training → analysis → plots

`checks` (the exercise checkers) and `start` (what the setup cell calls) stand apart. Nothing here imports from a
notebook. A room that had grown too large was divided; its parts are still to be had under the names above.
"""
