"""The exercise checkers: `check_<name>(your_function)` says whether it behaves as it should, and if not, where.

They test behaviour only: any right answer passes, by whatever route. After ✗, `last_case` holds the arguments that showed
the mistake: `your_function(*last_case)`.
"""

last_case = None
