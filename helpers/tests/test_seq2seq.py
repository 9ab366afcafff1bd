"""The recurrent translator: padding changes nothing, nothing leaks, and two ways to run it agree."""

import pytest
import torch

from helpers.analysis import find_leak
from helpers.data import load_parallel
from helpers.seq2seq import KINDS, Seq2Seq
from helpers.text import Vocabulary
from helpers.training import evaluate, fit
from helpers.translation import translation_loss

SOURCE = torch.tensor([[5, 6, 7, 8, 2], [9, 4, 2, 0, 0], [3, 2, 0, 0, 0], [7, 7, 5, 2, 0]])
TARGET = torch.tensor([[1, 5, 6, 7, 8, 9], [1, 4, 3, 0, 0, 0], [1, 9, 9, 9, 0, 0], [1, 6, 5, 8, 3, 0]])


FED = "luong-general, fed"  # with input feeding


def options_of(kind):
    return {"attention": kind.removesuffix(", fed"), "input_feeding": kind == FED}


def make(kind, **options):
    torch.manual_seed(3)
    model = Seq2Seq(10, 12, **{"hidden_size": 8, **options_of(kind), **options}).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.0)  # so that different inputs give clearly different outputs
    return model


@pytest.fixture(params=[*KINDS, FED])
def kind(request):
    return request.param


@pytest.fixture(params=[True, False], ids=["two directions", "one direction"])
def bidirectional(request):
    return request.param


def test_shapes(kind, bidirectional):
    logits, weights = make(kind, bidirectional=bidirectional, embedding_size=6)(SOURCE, TARGET)
    assert logits.shape == (4, 6, 12)
    assert weights is None if kind == "none" else weights.shape == (4, 6, 5)


def test_padding_never_gets_weight(kind):
    if kind == "none":
        return
    weights = make(kind)(SOURCE, TARGET)[1]
    assert (weights.masked_select((SOURCE == 0).unsqueeze(1).expand_as(weights)) == 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(4, 6))


def test_a_padded_batch_is_each_sentence_alone(kind, bidirectional):
    model = make(kind, bidirectional=bidirectional)
    logits, weights = model(SOURCE, TARGET)
    for b in range(4):
        length, steps = int((SOURCE[b] != 0).sum()), int((TARGET[b] != 0).sum())
        alone, alone_weights = model(SOURCE[b : b + 1, :length], TARGET[b : b + 1, :steps])
        torch.testing.assert_close(logits[b, :steps], alone[0], atol=1e-5, rtol=0)
        if weights is not None:
            torch.testing.assert_close(weights[b, :steps, :length], alone_weights[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("beam_size", [1, 3])
def test_translation_of_a_padded_batch_is_each_alone(kind, beam_size):
    model = make(kind)
    tokens, weights = model.translate(SOURCE, max_length=9, beam_size=beam_size)
    for b in range(4):
        length = int((SOURCE[b] != 0).sum())
        alone, alone_weights = model.translate(SOURCE[b : b + 1, :length], max_length=9, beam_size=beam_size)
        steps = int((alone != 0).sum())
        assert torch.equal(tokens[b, :steps], alone[0, :steps]) and (tokens[b, steps:] == 0).all()
        if weights is not None:
            torch.testing.assert_close(weights[b, :steps, :length], alone_weights[0, :steps], atol=1e-5, rtol=0)
            assert (weights[b, steps:] == 0).all() and (weights[b, :, length:] == 0).all()


def test_the_encoder_equals_packed_sequences():
    model = make("none")
    annotations = model.encode(SOURCE).memory.annotations
    gru = torch.nn.GRU(8, 4, batch_first=True, bidirectional=True)
    for suffix, part in (("", model.encoder.forward_gru), ("_reverse", model.encoder.backward_gru)):
        for name, parameter in part.named_parameters():
            gru.get_parameter(name + suffix).data.copy_(parameter.data)
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        model.encoder.embedding(SOURCE), (SOURCE != 0).sum(1), batch_first=True, enforce_sorted=False
    )
    output, last = gru(packed)
    expected = torch.nn.utils.rnn.pad_packed_sequence(output, batch_first=True)[0]
    torch.testing.assert_close(annotations, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(model.encode(SOURCE).memory.summary, torch.cat([last[0], last[1]], -1))


def test_nothing_leaks_from_later_target_words(kind):
    model = make(kind)
    assert find_leak(lambda target: model(SOURCE[:1].expand(len(target), -1), target)[0], TARGET) is None


def test_the_step_of_generation_equals_forward(kind):
    model = make(kind)
    logits, weights = model(SOURCE, TARGET)
    state = model.encode(SOURCE)
    for t in range(TARGET.size(1)):
        step_logits, state = model.step(TARGET[:, t], state)
        torch.testing.assert_close(step_logits, logits[:, t], atol=1e-5, rtol=0)
    if weights is not None:
        torch.testing.assert_close(state.weights, weights, atol=1e-5, rtol=0)


@torch.no_grad()
def test_the_query_is_the_state_before_for_bahdanau_and_after_for_luong():
    """Written out again with nn.GRUCell, from the papers."""
    for kind in ("bahdanau", "luong-general"):
        model = make(kind)
        _, weights = model(SOURCE, TARGET)
        state = model.encode(SOURCE)
        cell = torch.nn.GRUCell(model.gru.input_size, 8)
        cell.load_state_dict({name.removesuffix("_l0"): p for name, p in model.gru.state_dict().items()})
        hidden, annotations, mask = state.hidden, state.memory.annotations, state.memory.mask
        for t in range(TARGET.size(1)):
            x = model.embedding(TARGET[:, t])
            if kind == "bahdanau":
                context, expected = model.attention(hidden, annotations, mask)
                hidden = cell(torch.cat([x, context], -1), hidden)
                other = model.attention(hidden, annotations, mask)[1]
            else:
                other = model.attention(hidden, annotations, mask)[1]
                hidden = cell(x, hidden)
                context, expected = model.attention(hidden, annotations, mask)
            torch.testing.assert_close(weights[:, t], expected, atol=1e-6, rtol=0)
            assert (weights[:, t] - other)[0].abs().max() > 1e-3  # the other order would be seen


@torch.no_grad()
def test_input_feeding_hands_what_a_step_found_to_the_next():
    """Written out again with nn.GRUCell, from section 3.3 of the paper: zeros first, then the last read-out."""
    model = make(FED)
    logits, weights = model(SOURCE, TARGET)
    cell = torch.nn.GRUCell(model.gru.input_size, 8)
    cell.load_state_dict({name.removesuffix("_l0"): p for name, p in model.gru.state_dict().items()})
    state = model.encode(SOURCE)
    hidden, found = state.hidden, torch.zeros(4, 8)
    for t in range(TARGET.size(1)):
        hidden = cell(torch.cat([model.embedding(TARGET[:, t]), found], -1), hidden)
        context, expected = model.attention(hidden, state.memory.annotations, state.memory.mask)
        found = model.readout(torch.cat([context, hidden], -1)).tanh()
        torch.testing.assert_close(weights[:, t], expected, atol=1e-6, rtol=0)
        torch.testing.assert_close(logits[:, t], model.output(found), atol=1e-5, rtol=0)


def test_beam_of_one_is_greedy_and_a_wide_beam_is_never_less_likely(kind):
    model = make(kind)
    greedy = model.translate(SOURCE, max_length=7)[0]
    assert torch.equal(greedy, model.translate(SOURCE, max_length=7, beam_size=1)[0])
    last, state, by_hand = torch.ones(4, dtype=torch.long), model.encode(SOURCE), []
    for _ in range(greedy.size(1)):
        logits, state = model.step(last, state)
        logits[:, :2] = -torch.inf  # no <PAD>, no <BOS>
        last = logits.argmax(-1)
        by_hand.append(last)
    assert torch.equal(greedy, torch.stack(by_hand, 1).masked_fill(greedy == 0, 0))

    def total(tokens):
        target = torch.cat([torch.ones(4, 1, dtype=torch.long), tokens], 1)
        logits = model(SOURCE, target[:, :-1])[0]
        logits[..., :2] = -torch.inf
        logits = logits.log_softmax(-1)
        return logits.gather(-1, tokens.unsqueeze(-1)).squeeze(-1).masked_fill(tokens == 0, 0.0).sum(1)

    wide = model.translate(SOURCE, max_length=7, beam_size=200, length_penalty=0.0)[0]
    assert (total(wide) >= total(greedy) - 1e-5).all()


def test_translate_is_without_dropout_and_puts_the_mode_back(kind):
    model = make(kind, dropout=0.5).train()
    first, second = model.translate(SOURCE, max_length=6)[0], model.translate(SOURCE, max_length=6)[0]
    assert model.training and torch.equal(first, second)
    assert not torch.equal(model(SOURCE, TARGET)[0], model(SOURCE, TARGET)[0])


def test_meta(kind):
    with torch.device("meta"):
        model = Seq2Seq(10, 12, hidden_size=8, **options_of(kind))
    source, target = SOURCE.to("meta"), TARGET.to("meta")
    logits, weights = model(source, target)
    assert logits.is_meta and logits.shape == (4, 6, 12)
    assert weights is None if kind == "none" else weights.shape == (4, 6, 5)
    for beam_size in (1, 2):
        tokens, _ = model.translate(source, max_length=3, beam_size=beam_size)
        assert tokens.is_meta and tokens.shape == (4, 3)


def test_every_parameter_learns(kind):
    model = make(kind).train()
    loss, _ = translation_loss(model, SOURCE, TARGET)
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())


def test_padding_counts_for_nothing_in_the_loss(kind):
    model = make(kind)
    loss, count = translation_loss(model, SOURCE, TARGET)
    longer = [torch.nn.functional.pad(t, (0, 3)) for t in (SOURCE, TARGET)]
    longer_loss, longer_count = translation_loss(model, *longer)
    assert count == longer_count == int((TARGET[:, 1:] != 0).sum())
    torch.testing.assert_close(loss, longer_loss)


def test_training_is_deterministic_and_learns_real_sentences():
    corpus = load_parallel()["train"]
    sources, targets = corpus.source[:64], corpus.target[:64]
    english, japanese = Vocabulary.from_sentences(sources), Vocabulary.from_sentences(targets)
    pairs = english.encode_batch(sources)[:, 1:], japanese.encode_batch(targets)
    losses = []
    for _ in range(2):
        torch.manual_seed(0)
        model = Seq2Seq(len(english), len(japanese), hidden_size=32, attention="luong-general")
        before = evaluate(model, pairs, translation_loss)
        history = fit(model, pairs, pairs, translation_loss, epochs=25, lr=2e-2, batch_size=16, progress=False)
        losses.append(history.validation)
    assert losses[0] == losses[1]
    assert before > 4 and losses[0][-1] < 1


BAD = {
    "unknown kind": (lambda: Seq2Seq(9, 9, attention="luong"), ValueError, "attention='luong' is not one of none,"),
    "no words": (lambda: Seq2Seq(0, 9), ValueError, "source_vocab_size=0 must be a positive whole number"),
    "no width": (lambda: Seq2Seq(9, 9, hidden_size=-1), ValueError, "hidden_size=-1 must be"),
    "no embedding": (lambda: Seq2Seq(9, 9, embedding_size=0), ValueError, "embedding_size=0 must be"),
    "odd width": (lambda: Seq2Seq(9, 9, hidden_size=7), ValueError, "hidden_size=7 must be even"),
    "feeding": (
        lambda: Seq2Seq(9, 9, attention="bahdanau", input_feeding=True),
        ValueError,
        "with Luong's attention only",
    ),
    "dropout": (lambda: Seq2Seq(9, 9, dropout=1.0), ValueError, "dropout=1.0 must be at least 0 and below 1"),
    "vectors": (lambda: make("none")(SOURCE.float(), TARGET), TypeError, "source has dtype torch.float32"),
    "target of rank 1": (lambda: make("none")(SOURCE, TARGET[0]), ValueError, r"target has shape \(6,\)"),
    "batches that differ": (lambda: make("none")(SOURCE[:3], TARGET), ValueError, "source holds 3 sentences, target 4"),
    "all padding": (lambda: make("none")(SOURCE * 0, TARGET), ValueError, "source holds nothing but padding in row 0"),
    "padding on the left": (lambda: make("none").translate(SOURCE.flip(1)), ValueError, "source row 1 .* on the right"),
    "unknown source word": (lambda: make("none")(SOURCE + 5, TARGET), ValueError, "they must be from 0 to 9"),
    "unknown target word": (lambda: make("none")(SOURCE, TARGET + 9), ValueError, "target has ids from 9 to 18"),
    "no beam": (lambda: make("none").translate(SOURCE, beam_size=0), ValueError, "beam_size=0"),
    "no length": (lambda: make("none").translate(SOURCE, max_length=0), ValueError, "max_length=0"),
    "negative length": (lambda: make("none").translate(SOURCE, max_length=-1), ValueError, "max_length=-1"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()
