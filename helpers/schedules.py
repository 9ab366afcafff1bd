"""Learning rates over the course of training. Readers meet these through `helpers.training`."""

import math


def one_cycle(step, total_steps, warmup=0.25):
    """Return the share of the peak learning rate at `step`: a linear rise, then half a cosine down to zero.

    After Smith and Topin, "Super-Convergence" (2018).
    """
    rise = max(1, round(warmup * total_steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total_steps - rise)))


def paper_learning_rate(step, d_model=512, warmup_steps=4000):
    """Return the learning rate of "Attention Is All You Need", equation 3; `step` counts from 1.

    It rises linearly for `warmup_steps` steps and then falls with the inverse square root of the step.

    Raises:
        ValueError: an argument is below 1.
    """
    for name, value in (("step", step), ("d_model", d_model), ("warmup_steps", warmup_steps)):
        if value < 1:
            raise ValueError(f"{name}={value!r} must be at least 1")
    return d_model**-0.5 * min(step**-0.5, step * warmup_steps**-1.5)


def paper_schedule(step, total_steps, warmup=0.25):
    """Return equation 3 as a share of its peak, for `fit(schedule=...)`; `step` counts from 0.

    The peak itself, d_model^-0.5 · warmup_steps^-0.5, goes into `fit(lr=...)`; so `d_model` does not matter here.

    Args:
        step: 0 to total_steps - 1.
        total_steps: how many there are.
        warmup: the share of them in which the rate rises (the paper's base model: 4,000 of 100,000, section 5.3).

    Raises:
        ValueError: `warmup` is not above 0 and at most 1.
    """
    if not 0 < warmup <= 1:
        raise ValueError(f"warmup={warmup!r} must be above 0 and at most 1")
    warmup_steps = max(1, round(warmup * total_steps))
    return paper_learning_rate(step + 1, 1, warmup_steps) * warmup_steps**0.5
