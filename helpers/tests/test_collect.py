"""The weights of every head: right, for every kind of model, and without a trace left behind."""

import pytest
import torch
from torch import nn

from helpers.attention import MultiHeadAttention, causal_mask
from helpers.collect import collect_attention, collecting_attention
from helpers.transformer import MiniFormer, Transformer, TransformerConfig


def encoder(norm_first=False, layers=2, **options):
    layer = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.1, batch_first=True, norm_first=norm_first)
    return nn.TransformerEncoder(layer, layers, **{"enable_nested_tensor": not norm_first} | options)


def state_of(model):
    """Everything that collecting could leave behind."""
    names = [sorted(module.__dict__) for module in model.modules()]
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
    return names, hooks, model.training, torch.backends.mha.get_fastpath_enabled(), torch.get_rng_state().tolist()


def sums_to_one(weights):
    torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_encoder_with_padding_whatever_path_pytorch_takes(norm_first, nested, grad):
    torch.manual_seed(0)
    model = encoder(norm_first, enable_nested_tensor=nested and not norm_first).eval()
    x, padding = torch.randn(3, 6, 16), torch.zeros(3, 6, dtype=torch.bool)
    padding[0, 4:] = padding[1, 2:] = True
    with torch.set_grad_enabled(grad):
        expected = model(x, src_key_padding_mask=padding)
        before = state_of(model)
        output, attention = collect_attention(model, x, src_key_padding_mask=padding)
        assert state_of(model) == before
        torch.testing.assert_close(output, expected, atol=1e-6, rtol=0)
        with collecting_attention(model):
            inside = model(x, src_key_padding_mask=padding)
    torch.testing.assert_close(inside[~padding], expected[~padding], atol=1e-6, rtol=0)
    assert list(attention) == ["layers.0.self_attn", "layers.1.self_attn"]
    for weights in attention.values():
        assert weights.shape == (3, 4, 6, 6) and not weights.requires_grad
        sums_to_one(weights)
        assert weights.masked_select(padding[:, None, None]).eq(0).all()


@pytest.mark.parametrize("norm_first", [True, False])
def test_the_weights_are_those_that_make_the_output(norm_first):
    torch.manual_seed(1)
    model = encoder(norm_first, layers=1).eval()
    layer, x = model.layers[0], torch.randn(2, 5, 16)
    attention = collect_attention(model, x).attention["layers.0.self_attn"]
    y = layer.norm1(x) if norm_first else x
    module = MultiHeadAttention.from_torch(layer.self_attn)
    value = module.value_proj(y).unflatten(-1, (4, 4)).transpose(1, 2)
    output = module.out_proj((attention @ value).transpose(1, 2).flatten(2))
    torch.testing.assert_close(output, layer.self_attn(y, y, y)[0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")
def test_decoder_and_full_transformer(norm_first, batch_first):
    torch.manual_seed(2)
    model = nn.Transformer(
        16, 2, 2, 3, 32, batch_first=batch_first, norm_first=norm_first
    ).eval()  # fmt: skip
    source, target = torch.randn(2, 7, 16), torch.randn(2, 5, 16)
    if not batch_first:
        source, target = source.transpose(0, 1), target.transpose(0, 1)
    named = {"tgt_mask": ~causal_mask(5), "tgt_is_causal": True}
    expected = model(source, target, **named)
    output, attention = collect_attention(model, source, target, **named)
    torch.testing.assert_close(output, expected, atol=1e-6, rtol=0)
    assert [name.split(".")[0] for name in attention] == ["encoder"] * 2 + ["decoder"] * 6
    for name, weights in attention.items():
        queries, keys = (7, 7) if "encoder" in name else (5, 7 if "multihead" in name else 5)
        assert weights.shape == (2, 2, queries, keys)
        sums_to_one(weights)
        if queries == keys == 5:
            assert weights.triu(1).eq(0).all()
    memory = model.encoder(source)
    assert len(collect_attention(model.decoder, target, memory).attention) == 6


def test_the_series_own_models_agree_with_what_they_report():
    torch.manual_seed(3)
    tokens = torch.tensor([[1, 4, 5, 6, 2], [1, 7, 2, 0, 0]])
    mini = MiniFormer(9, 16, 4, 2).eval()
    logits, reported = mini(tokens, return_attention=True)
    output, attention = collect_attention(mini, tokens)
    torch.testing.assert_close(output, logits, atol=1e-6, rtol=0)
    for expected, weights in zip(reported, attention.values(), strict=True):
        torch.testing.assert_close(weights, expected, atol=1e-6, rtol=0)
    full = Transformer(TransformerConfig(9, 9, 16, 4, 32)).eval()
    _, reported = full(tokens, tokens, return_attention=True)
    attention = collect_attention(full, tokens, tokens).attention
    expected = [*reported["encoder"], *(w for pair in zip(reported["decoder"], reported["cross"]) for w in pair)]
    for a, b in zip(expected, attention.values(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)


class Breaks(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = encoder(enable_nested_tensor=False)

    def forward(self, x):
        self.encoder(x)
        raise KeyError("on purpose")


def test_everything_is_put_back_after_an_exception():
    model, x = Breaks().eval(), torch.randn(1, 3, 16)
    before = state_of(model)
    with pytest.raises(KeyError, match="on purpose"):
        collect_attention(model, x)
    assert state_of(model) == before
    with pytest.raises(ZeroDivisionError), collecting_attention(model):
        raise ZeroDivisionError
    assert state_of(model) == before


@pytest.mark.parametrize("enabled", [True, False])
def test_the_users_fast_path_setting_survives(enabled):
    was = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(enabled)
        collect_attention(encoder(enable_nested_tensor=False).eval(), torch.randn(1, 3, 16))
        assert torch.backends.mha.get_fastpath_enabled() is enabled
    finally:
        torch.backends.mha.set_fastpath_enabled(was)


def test_a_forward_of_the_users_own_survives():
    model = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    original = model.forward

    def own(query, key, value, need_weights=True, average_attn_weights=True):
        output, weights = original(query, key, value, None, need_weights, None, average_attn_weights)
        return 2 * output, weights

    model.forward = own
    x = torch.randn(1, 3, 8)
    output, attention = collect_attention(model, x, x, x)
    assert model.forward is own and attention["MultiheadAttention"].shape == (1, 2, 3, 3)
    torch.testing.assert_close(output[0], 2 * original(x, x, x)[0])


class Asks(nn.Module):
    """Uses one attention twice and returns the weights that it asked for."""

    def __init__(self, **asked):
        super().__init__()
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
        self.asked = asked

    def forward(self, x):
        y, first = self.attend(x, x, x, **self.asked)
        return first, self.attend(y, x, x, **self.asked)[1]


@pytest.mark.parametrize(
    "asked", [{}, {"need_weights": False}, {"average_attn_weights": False}, {"need_weights": True}], ids=str
)
def test_the_model_itself_gets_what_it_asked_for(asked):
    model, x = Asks(**asked).eval(), torch.randn(2, 3, 8)
    expected = model(x)
    with collecting_attention(model) as attention:
        got = model(x)
    assert list(attention) == ["attend", "attend#2"]
    for a, b in zip(expected, got, strict=True):
        assert (a is None and b is None) or torch.allclose(a, b, atol=1e-6)


def test_training_mode_draws_random_numbers_as_if_run_once():
    model, x = encoder().train(), torch.randn(2, 3, 16)
    torch.manual_seed(4)
    expected, next_number = model(x), torch.rand(())
    torch.manual_seed(4)
    output, attention = collect_attention(model, x)
    assert model.training and torch.equal(output, expected) and torch.equal(torch.rand(()), next_number)
    assert (attention["layers.0.self_attn"] == 0).any()  # the weights after dropout


def test_input_without_a_batch_axis():
    model = encoder(enable_nested_tensor=False).eval()
    assert collect_attention(model, torch.randn(3, 16)).attention["layers.1.self_attn"].shape == (4, 3, 3)


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.attend = MultiHeadAttention(4, 1)

    def forward(self, x):
        return x


def test_clear_errors():
    with pytest.raises(ValueError, match="Linear.*holds no attention module"):
        collect_attention(nn.Linear(2, 2), torch.randn(1, 2))
    with pytest.raises(TypeError, match="model is str"):
        collect_attention("model", torch.randn(1, 2))
    with pytest.raises(ValueError, match="called none of them"):
        collect_attention(Unused(), torch.randn(1, 2))
