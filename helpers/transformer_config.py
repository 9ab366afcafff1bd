"""The sizes of a Transformer. Readers meet them through `helpers.transformer`."""

from dataclasses import dataclass, fields

from helpers.masks import check_size

QUIET = {"tie_embeddings": False, "shared_vocabulary": False, "final_norm": None}  # not printed when they are so


@dataclass(frozen=True, repr=False)
class TransformerConfig:
    """The sizes of a `Transformer`. The defaults are chapter 5's FullTransformer.

    Raises:
        ValueError: a size is not positive, `num_heads` does not divide `d_model`, or two settings contradict each
            other.
        TypeError: a switch that is neither True nor False.
    """

    source_vocab_size: int
    target_vocab_size: int
    d_model: int = 64
    num_heads: int = 4
    d_ff: int = 128
    num_layers: int = 2  # of the encoder, and as many of the decoder
    dropout: float = 0.0
    max_length: int = 16
    norm_first: bool = True
    pad_id: int = 0
    tie_embeddings: bool = False  # the output layer uses the target's embedding matrix, and has no bias
    shared_vocabulary: bool = False  # source and target use one embedding matrix
    final_norm: bool | None = None  # a norm after each stack; None: with pre-norm only, as pre-norm needs it

    def __repr__(self):
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        shown = [f"{name}={value!r}" for name, value in values.items() if name not in QUIET or value != QUIET[name]]
        return f"TransformerConfig({', '.join(shown)})"

    def __post_init__(self):
        sizes = ("source_vocab_size", "target_vocab_size", "d_model", "num_heads", "d_ff", "num_layers", "max_length")
        for name in sizes:
            check_size(name, getattr(self, name))
        for name in ("norm_first", "tie_embeddings", "shared_vocabulary"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name}={getattr(self, name)!r} must be True or False")
        if self.d_model % self.num_heads:
            raise ValueError(f"num_heads={self.num_heads} does not divide d_model={self.d_model}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout!r} must be at least 0 and below 1")
        if self.shared_vocabulary and self.source_vocab_size != self.target_vocab_size:
            raise ValueError(
                f"shared_vocabulary=True needs one size, but source_vocab_size={self.source_vocab_size} and "
                f"target_vocab_size={self.target_vocab_size}"
            )
        if not 0 <= self.pad_id < min(self.source_vocab_size, self.target_vocab_size):
            raise ValueError(f"pad_id={self.pad_id!r} must be an id of both vocabularies")

    @classmethod
    def base(cls, **changes):
        """Return the base model of "Attention Is All You Need" (section 3 and the first row of table 3).

        One vocabulary of 37,000 symbols for both languages (section 5.1), one matrix for both embeddings and the
        output (section 3.4), the norm after each residual sum and none after the stacks. The paper gives no longest
        sequence; 512 here, which costs no parameters.

        Args:
            **changes: fields to set otherwise, such as `num_layers=2` for the row of table 3 with N = 2.
        """
        base = {
            "source_vocab_size": 37_000, "target_vocab_size": 37_000, "d_model": 512, "num_heads": 8, "d_ff": 2048,
            "num_layers": 6, "dropout": 0.1, "max_length": 512, "norm_first": False,
            "tie_embeddings": True, "shared_vocabulary": True,
        }  # fmt: skip
        return cls(**(base | changes))
