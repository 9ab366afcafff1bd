"""Training mode and evaluation mode."""

from contextlib import contextmanager


@contextmanager
def evaluating(model):
    """Put a model into evaluation mode, and afterwards, whatever happened, back into the mode it was in."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
