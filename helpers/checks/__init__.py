"""The exercise checkers: `check_<name>(your_function)` says whether it behaves as it should, and if not, where.

They test behaviour only: any right answer passes, by whatever route.
"""
