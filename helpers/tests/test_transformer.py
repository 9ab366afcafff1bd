"""The models: shapes, equality with PyTorch's layers, leaks, devices."""

import pytest
import torch
from torch import nn

from helpers.analysis import find_leak
from helpers.attention import causal_mask
from helpers.layers import DecoderLayer, EncoderLayer, sinusoidal_encoding
from helpers.transformer import MiniFormer, Transformer, TransformerConfig


def full(**changes):
    return Transformer(TransformerConfig(source_vocab_size=29, target_vocab_size=29, **changes)).eval()


def honest(model):
    """A Transformer as a language model: neither the encoder nor the cross-attention sees the future."""

    def predict(tokens):
        mask = causal_mask(tokens.size(1), tokens.device)
        return model(tokens, tokens, source_mask=mask, memory_mask=mask)

    return predict


def random_tokens(generator, batch=3, length=10, vocab_size=29):
    """Random words with <BOS>, padded on the right."""
    tokens = torch.randint(3, vocab_size, (batch, length), generator=generator)
    tokens[:, 0] = 1
    lengths = torch.randint(2, length + 1, (batch,), generator=generator)
    lengths[0] = length
    return tokens.masked_fill(torch.arange(length) >= lengths.unsqueeze(1), 0)


@pytest.mark.parametrize("norm_first", [True, False])
def test_layers_equal_pytorch(norm_first):
    torch.manual_seed(0)
    x, memory, mask = torch.randn(2, 6, 16), torch.randn(2, 9, 16), causal_mask(6)
    encoder = nn.TransformerEncoderLayer(16, 4, 32, 0.0, batch_first=True, norm_first=norm_first).eval()
    decoder = nn.TransformerDecoderLayer(16, 4, 32, 0.0, batch_first=True, norm_first=norm_first).eval()
    ours, weights = EncoderLayer.from_torch(encoder)(x, mask)
    torch.testing.assert_close(ours, encoder(x, src_mask=~mask), atol=2e-6, rtol=0)
    assert weights.shape == (2, 4, 6, 6)
    ours, self_weights, cross_weights = DecoderLayer.from_torch(decoder)(x, memory, mask)
    torch.testing.assert_close(ours, decoder(x, memory, tgt_mask=~mask), atol=2e-6, rtol=0)
    assert self_weights.shape == (2, 4, 6, 6) and cross_weights.shape == (2, 4, 6, 9)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
def test_what_chapter_4_says_about_dropout_norms_and_first_weights():
    """The table of section 4.7: ours beside `nn.Transformer`."""
    torch.manual_seed(0)
    ours, theirs = full(dropout=0.1), nn.Transformer(64, 4, 2, 2, 128, 0.1, batch_first=True)

    def dropouts(module):
        return [part.p for part in module.modules() if isinstance(part, nn.Dropout)]

    assert dropouts(ours.source_embed) == [0.1]
    assert dropouts(ours.encoder_layers[0]) == [0.1, 0.0]  # on each sublayer's output; on attention weights
    layer = theirs.encoder.layers[0]
    assert layer.self_attn.dropout == layer.dropout.p == layer.dropout1.p == layer.dropout2.p == 0.1

    def of_xavier(linear):
        """The largest weight as a share of the largest that Xavier's rule allows."""
        return (linear.weight.abs().max() / (6 / sum(linear.weight.shape)) ** 0.5).item()

    assert of_xavier(ours.encoder_layers[0].self_attention.query_proj) == pytest.approx(1, abs=0.01)
    hidden = ours.encoder_layers[0].feed_forward[0]
    assert hidden.weight.abs().max().item() * 64**0.5 == pytest.approx(1, abs=0.01)  # as nn.Linear does
    assert of_xavier(layer.linear1) == pytest.approx(1, abs=0.01)
    for norm_first in (True, False):
        end = full(norm_first=norm_first).decoder_norm
        assert isinstance(end, nn.LayerNorm if norm_first else nn.Identity)
        assert isinstance(nn.Transformer(8, 2, 1, 1, 8, norm_first=norm_first).decoder.norm, nn.LayerNorm)


def test_shapes_of_the_models():
    tokens = random_tokens(torch.Generator().manual_seed(0))
    logits, attention = MiniFormer(29, num_heads=2, num_layers=3)(tokens, return_attention=True)
    assert logits.shape == (3, 10, 29) and [w.shape for w in attention] == [(3, 2, 10, 10)] * 3
    logits, attention = full()(tokens, tokens[:, :7], return_attention=True)
    assert logits.shape == (3, 7, 29)
    shapes = {kind: [tuple(w.shape) for w in weights] for kind, weights in attention.items()}
    assert shapes == {"encoder": [(3, 4, 10, 10)] * 2, "decoder": [(3, 4, 7, 7)] * 2, "cross": [(3, 4, 7, 10)] * 2}


@pytest.mark.parametrize("norm_first", [True, False])
def test_asking_for_weights_does_not_change_the_logits(norm_first):
    model = full(norm_first=norm_first)
    tokens = random_tokens(torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        model(tokens, tokens), model(tokens, tokens, return_attention=True)[0], atol=1e-5, rtol=0
    )


def test_no_leak_in_500_random_cases():
    generator = torch.Generator().manual_seed(0)
    for case in range(500):
        torch.manual_seed(case)
        sizes = {"num_heads": [1, 2, 4][case % 3], "num_layers": 1 + case % 2, "d_model": 16}
        tokens = random_tokens(generator, length=3 + case % 13)
        assert find_leak(MiniFormer(29, **sizes).eval(), tokens) is None
        assert find_leak(honest(full(d_ff=32, norm_first=case % 4 < 2, **sizes)), tokens) is None


def test_the_target_never_leaks_and_padding_of_the_source_changes_nothing():
    generator = torch.Generator().manual_seed(1)
    model = full()
    source = random_tokens(generator)
    for row in range(len(source)):
        target = random_tokens(generator)
        assert find_leak(lambda t, row=row: model(source[[row] * len(t)], t), target) is None
    for row, length in enumerate((source != 0).sum(1).tolist()):
        alone = model(source[row : row + 1, :length], source[row : row + 1, :3])
        torch.testing.assert_close(alone[0], model(source, source[:, :3])[row], atol=1e-5, rtol=0)


def test_the_leaks_that_chapter_5_finds_are_found():
    tokens = random_tokens(torch.Generator().manual_seed(0))
    model = full()

    def mask(t):
        return causal_mask(t.size(1))

    assert find_leak(lambda t: model(t, t), tokens).kind == "future"
    # Hiding the future from the cross-attention alone does not help: the encoder has already mixed it in.
    assert find_leak(lambda t: model(t, t, memory_mask=mask(t)), tokens).kind == "future"
    assert find_leak(lambda t: model(t, t, source_mask=mask(t)), tokens).kind == "future"
    assert find_leak(honest(model), tokens) is None


def test_a_padding_leak_is_found():
    """A model that only looks back, but at how long the batch is too."""
    embedding = nn.Embedding(29, 8)
    tokens = torch.tensor([[1, 5, 6, 7], [1, 5, 0, 0]])
    leak = find_leak(lambda t: embedding(t).cumsum(1) / t.size(1), tokens)
    assert (leak.kind, leak.changed) == ("padding", 2)
    assert "the padding from position 2 moved the output at position" in str(leak)
    assert find_leak(lambda t: embedding(t).cumsum(1), tokens) is None


@pytest.mark.parametrize("make", [lambda: MiniFormer(29), lambda: full()])
def test_models_run_on_the_meta_device(make):
    with torch.device("meta"):
        model = make()
        tokens = torch.ones(2, 7, dtype=torch.long)
    logits = honest(model)(tokens) if isinstance(model, Transformer) else model(tokens)
    assert logits.shape == (2, 7, 29) and logits.device.type == "meta"


def test_moving_a_model_moves_all_of_it():
    model = full().to("meta")
    assert {t.device.type for t in [*model.parameters(), *model.buffers()]} == {"meta"}
    tokens = torch.ones(2, 7, dtype=torch.long, device="meta")
    assert model(tokens, tokens).device.type == "meta"


def test_the_position_encoding():
    encoding = sinusoidal_encoding(20, 9)
    assert encoding.shape == (20, 9)
    torch.testing.assert_close(encoding[0], torch.tensor([0.0, 1, 0, 1, 0, 1, 0, 1, 0]))
    even = sinusoidal_encoding(50, 16)
    products = even @ even.T  # depends on the distance alone
    torch.testing.assert_close(products[3, 10], products[30, 37], atol=1e-4, rtol=0)
