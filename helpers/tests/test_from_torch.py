"""The whole Transformer equals `nn.Transformer` with the same weights; counting; what `inspect` returns."""

import pytest
import torch
from torch import nn

from helpers.attention import causal_mask
from helpers.layers import sinusoidal_encoding
from helpers.transformer import Transformer, TransformerConfig


def pytorchs(norm_first, d_model=32, layers=2, **options):
    """An `nn.Transformer` with random norms and biases (at birth they are ones and zeros), embeddings, an output."""
    torch.manual_seed(0)
    module = nn.Transformer(
        d_model, 4, layers, layers, 48, 0.1, batch_first=True, norm_first=norm_first, **options
    ).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return module, nn.Embedding(11, d_model), nn.Embedding(13, d_model), nn.Linear(d_model, 13)


def padded(rows, length, size, seed):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(3, size, (rows, length), generator=generator)
    lengths = torch.randint(1, length + 1, (rows, 1), generator=generator)
    return tokens.masked_fill(torch.arange(length) >= lengths, 0)


@torch.no_grad()
def their_logits(module, source_embedding, target_embedding, output, source, target):
    def embed(embedding, tokens):
        d_model = embedding.embedding_dim
        return embedding(tokens) * d_model**0.5 + sinusoidal_encoding(tokens.size(1), d_model)

    hidden = module(
        embed(source_embedding, source), embed(target_embedding, target), tgt_mask=~causal_mask(target.size(1)),
        src_key_padding_mask=source == 0, memory_key_padding_mask=source == 0, tgt_key_padding_mask=target == 0,
    )  # fmt: skip
    return output(hidden)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor", "ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("norm_first", [True, False])
def test_the_whole_equals_pytorch(norm_first):
    parts = pytorchs(norm_first)
    ours = Transformer.from_torch(*parts, max_length=20)
    for seed in range(5):
        source, target = padded(4, 9, 11, seed), padded(4, 7, 13, seed + 10)
        real = target != 0
        torch.testing.assert_close(
            ours(source, target)[real], their_logits(*parts, source, target)[real], atol=1e-5, rtol=0
        )


@pytest.mark.filterwarnings("ignore:enable_nested_tensor", "ignore:The PyTorch API of nested tensors")
def test_a_copy_is_as_precise_and_shares_what_the_original_shares():
    module, _, embedding, output = pytorchs(False)
    output = nn.Linear(32, 13, bias=False)
    output.weight = embedding.weight
    parts = [part.double() for part in (module, embedding, embedding, output)]
    ours = Transformer.from_torch(*parts)
    assert ours.config.tie_embeddings and ours.config.shared_vocabulary
    assert ours.output.weight is ours.target_embed.embedding.weight is ours.source_embed.embedding.weight
    source, target = padded(3, 6, 13, 0), padded(3, 6, 13, 1)
    real = target != 0
    # Not closer than float32: the position encoding is made in single precision.
    torch.testing.assert_close(
        ours(source, target)[real], their_logits(*parts, source, target)[real], atol=1e-6, rtol=0
    )
    with torch.no_grad():
        parts[0].encoder.layers[0].linear1.weight.zero_()  # a copy, not a view
    assert ours.encoder_layers[0].feed_forward[0].weight.abs().sum() > 0


def meta(config):
    with torch.device("meta"):
        return Transformer(config)


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_the_base_model_has_63_million_parameters():
    model = meta(TransformerConfig.base())
    attention, feed_forward, norm = 4 * (512**2 + 512), 2 * 512 * 2048 + 2048 + 512, 2 * 512
    assert count(model.encoder_layers) == 6 * (attention + feed_forward + 2 * norm)
    assert count(model.decoder_layers) == 6 * (2 * attention + feed_forward + 3 * norm)
    assert count(model.source_embed) == 18_944_000
    assert count(model) == 63_082_496


def test_what_tying_and_sharing_save():
    base = count(meta(TransformerConfig.base()))
    assert count(meta(TransformerConfig.base(tie_embeddings=False))) == base + 18_944_000 + 37_000
    assert count(meta(TransformerConfig.base(shared_vocabulary=False))) == base + 18_944_000
    assert count(meta(TransformerConfig.base(final_norm=True))) == base + 2 * 1024


def test_the_shared_attention_module_is_worth_6_3_million():
    model = meta(TransformerConfig.base())
    whole = count(model)
    for layer in model.decoder_layers:
        layer.cross_attention = layer.self_attention
    assert whole - count(model) == 6 * 4 * (512**2 + 512)
    assert count(model) == 56_778_752


def test_tied_weights_stay_tied_when_a_model_moves_and_learn_from_both_uses():
    model = Transformer(TransformerConfig(9, 9, tie_embeddings=True, shared_vocabulary=True)).to(torch.float64)
    assert model.output.weight is model.target_embed.embedding.weight is model.source_embed.embedding.weight
    assert model.output.bias is None
    tokens = torch.tensor([[3, 4, 5]])
    model(tokens, tokens).sum().backward()
    assert (model.output.weight.grad[6:] != 0).any()  # rows that no token used: the gradient is the output's


def test_inspect_returns_what_passes_through():
    model = Transformer(TransformerConfig(11, 13, dropout=0.1)).eval()
    source, target = padded(3, 9, 11, 0), padded(3, 7, 13, 1)
    inside = model.inspect(source, target)
    torch.testing.assert_close(inside.logits, model(source, target), atol=1e-5, rtol=0)
    shapes = {name: [tuple(x.shape) for x in tensors] for name, tensors in inside.activations.items()}
    assert shapes == {"encoder": [(3, 9, 128)] * 2, "decoder": [(3, 7, 128)] * 2}
    assert {name: len(tensors) for name, tensors in inside.stream.items()} == {"encoder": 3, "decoder": 3}
    assert min(x.min() for x in inside.activations["decoder"]) == 0
    torch.testing.assert_close(inside.stream["decoder"][0], model.target_embed(target))
    torch.testing.assert_close(model.output(inside.last_hidden["decoder"]), inside.logits)
    torch.testing.assert_close(inside.last_hidden["encoder"], model.encode(source)[0], atol=1e-5, rtol=0)
    assert set(inside.attention) == {"encoder", "decoder", "cross"}
    assert not any(module._forward_hooks for module in model.modules())  # the hooks are gone
