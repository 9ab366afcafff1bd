"""Generation with the Transformer: the cache changes nothing, nor does the company in a batch, nor a beam of one."""

import pytest
import torch

from helpers.transformer import Transformer, TransformerConfig

CASES = 200
SOURCE_SIZE, TARGET_SIZE, LENGTH = 11, 13, 7


def random_case(case):
    """A random small model in double precision, so that rounding decides nothing, and a padded batch."""
    generator = torch.Generator().manual_seed(case)
    torch.manual_seed(case)
    config = TransformerConfig(
        SOURCE_SIZE, TARGET_SIZE, d_model=16, num_heads=[1, 2, 4][case % 3], d_ff=24, num_layers=1 + case % 2,
        dropout=0.2, max_length=LENGTH, norm_first=case % 2 == 0, tie_embeddings=case % 4 < 2,
    )  # fmt: skip
    model = Transformer(config).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():  # livelier than at birth, so that the tokens vary
            parameter.mul_(1.5)
    rows, length = 1 + case % 4, 2 + case % 6
    source = torch.randint(3, SOURCE_SIZE, (rows, length), generator=generator)
    lengths = torch.randint(1, length + 1, (rows, 1), generator=generator)
    return model, source.masked_fill(torch.arange(length) >= lengths, 0)


@pytest.mark.parametrize(
    "options",
    [
        {"strategy": "greedy"},
        {"strategy": "beam", "beam_size": 3},
        {"strategy": "sample", "temperature": 0.8},
        {"strategy": "sample", "top_k": 4},
    ],
    ids=["greedy", "beam", "sample", "top-k"],
)
def test_the_cache_changes_no_token_in_200_random_cases(options):
    different = set()
    for case in range(CASES):
        model, source = random_case(case)
        with_cache, without = (
            model.generate(source, use_cache=use, generator=torch.Generator().manual_seed(case), **options)
            for use in (True, False)
        )
        assert torch.equal(with_cache, without), case
        different.add(tuple(with_cache[0].tolist()))
    assert len(different) > CASES / 5  # else the test would compare next to nothing


def test_a_beam_of_one_is_greedy_in_200_random_cases():
    for case in range(CASES):
        model, source = random_case(case)
        beam = model.generate(source, strategy="beam", beam_size=1)
        assert torch.equal(beam, model.generate(source)), case


@pytest.mark.parametrize("options", [{}, {"strategy": "beam"}, {"use_cache": False}])
def test_a_batch_is_each_sentence_alone(options):
    for case in range(0, CASES, 2):
        model, source = random_case(case)
        together = model.generate(source, **options)
        for row, tokens in zip(source, together):
            alone = model.generate(row[row != 0].unsqueeze(0), **options)[0]
            assert torch.equal(tokens[: len(alone)], alone) and (tokens[len(alone) :] == 0).all(), case


def test_greedy_tokens_are_the_likeliest_of_one_forward_pass():
    """What was generated, read with teacher forcing, is what the model would say next at every position."""
    for case in range(40):
        model, source = random_case(case)
        tokens = model.generate(source)
        read = torch.cat([torch.ones_like(tokens[:, :1]), tokens[:, :-1]], dim=1)
        logits = model(source, read)
        logits[..., :2] = -torch.inf  # <PAD> and <BOS> are never written
        real = tokens != 0
        assert torch.equal(logits.argmax(-1)[real], tokens[real])


def test_a_wide_beam_finds_what_is_at_least_as_likely():
    def log_probability(model, source, tokens):
        read = torch.cat([torch.ones_like(tokens[:, :1]), tokens[:, :-1]], dim=1)
        logits = model(source, read)
        logits[..., :2] = -torch.inf
        return (logits.log_softmax(-1).gather(2, tokens.unsqueeze(2)).squeeze(2) * (tokens != 0)).nansum(1)

    gains = []
    for case in range(40):
        model, source = random_case(case)
        beam = model.generate(source, strategy="beam", beam_size=300, length_penalty=0.0, max_length=3)
        greedy = model.generate(source, max_length=3)
        gains.append(log_probability(model, source, beam) - log_probability(model, source, greedy))
    gains = torch.cat(gains)
    assert (gains > -1e-9).all() and (gains > 1e-3).any()


def test_generation_is_in_evaluation_mode_and_puts_the_mode_back():
    model, source = random_case(2)
    expected = model.generate(source)
    model.train()
    assert torch.equal(model.generate(source), expected) and torch.equal(model.generate(source), expected)
    assert model.training
    with pytest.raises(ValueError):
        model.generate(source, strategy="guess")
    assert model.training


def test_rows_stop_at_their_own_end():
    seen = 0
    for case in range(CASES):
        model, source = random_case(case)
        for row in model.generate(source).tolist():
            if 2 in row:
                seen += 1
                assert set(row[row.index(2) + 1 :]) <= {0}
            assert 0 not in row[: row.index(2)] if 2 in row else 0 not in row
            assert 1 not in row
    assert seen > 20


def test_the_cache_holds_what_the_formula_says_and_the_old_one_is_left_alone():
    model, source = random_case(1)  # 2 layers, 2 heads of width 8
    state = model.start(source)
    before = state["layers"][0].cross_key.clone()
    logits, first = model.step(torch.ones(len(source), dtype=torch.long), state)
    _, second = model.step(logits.argmax(-1), first)
    rows, length = source.shape
    for layer in second["layers"]:
        assert layer.self_key.shape == layer.self_value.shape == (rows, 2, 2, 8)
        assert layer.cross_key.shape == layer.cross_value.shape == (rows, 2, length, 8)
    assert first["layers"][0].self_key.size(2) == 1 and state["layers"][0].self_key is None
    assert (first["position"], second["position"]) == (1, 2)
    assert second["layers"][0].cross_key is state["layers"][0].cross_key  # made once
    assert torch.equal(before, state["layers"][0].cross_key)


def test_cached_logits_are_those_of_the_whole_model():
    model, source = random_case(5)
    target = torch.randint(3, TARGET_SIZE, (len(source), LENGTH))
    expected, state = model(source, target), model.start(source)
    for position in range(LENGTH):
        logits, state = model.step(target[:, position], state)
        torch.testing.assert_close(logits, expected[:, position], atol=1e-12, rtol=0)


def test_several_positions_at_once_follow_a_cache():
    """A step of three positions with a causal mask is three steps of one."""
    model, source = random_case(3)
    memory, _ = model.encode(source)
    layer, x = model.decoder_layers[0], torch.randn(len(source), 5, 16, dtype=torch.double)
    visible = (source != 0).unsqueeze(1)
    mask = torch.ones(5, 5, dtype=torch.bool).tril()
    whole = layer(x, memory, mask, visible)[0]
    first, _, _, cache = layer.step(x[:, :2], layer.empty_cache(memory), mask[:2, :2], visible)
    rest, _, _, _ = layer.step(x[:, 2:], cache, mask[2:], visible)
    torch.testing.assert_close(torch.cat([first, rest], dim=1), whole, atol=1e-12, rtol=0)


@pytest.mark.parametrize("options", [{}, {"strategy": "beam"}, {"use_cache": False}])
def test_it_generates_on_the_meta_device(options):
    with torch.device("meta"):
        model = Transformer(TransformerConfig(9, 9))
        source = torch.ones(2, 5, dtype=torch.long)
    tokens = model.generate(source, 4, **options)
    assert tokens.shape == (2, 4) and tokens.device.type == "meta"
