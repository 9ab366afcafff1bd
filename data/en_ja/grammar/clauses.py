"""Clauses: the order of phrases in each language.

English order:  time, subject, auxiliary, adverb, verb, object, to whom, to where, where, with whom, by what, time.
Japanese order: time, subject, often, where, now, by what, to whom, to where, with whom, object, number, verb.

"with whom" stands before the verb, never before a noun: 父 と 公園 would read as "my father and the park".
"now" stands behind the place: 今 川 で would read as the name of a river.
"""

from __future__ import annotations

from .lexicon import VERBS
from .verbs import Clause, japanese_verb, verb_group
from .words import EnglishWord, JapaneseWord, Phrase, en, ja, particle

Sentence = tuple[list[EnglishWord], list[JapaneseWord]]


def finish(phrase: Phrase, asking: bool = False) -> Sentence:
    """Add the final punctuation. か and 。 of a question both link to "?"."""
    end = en("?" if asking else ".")
    closing = [particle("か", end)] if asking else []
    return phrase.english + end, phrase.japanese + closing + [JapaneseWord("。", ".", tuple(end))]


def marked(phrase: Phrase, mark: str) -> list[JapaneseWord]:
    """A phrase, its case particle (linked to the heads), then a floating number."""
    return phrase.japanese + [particle(mark, phrase.heads)] + phrase.floating


def _english(*phrases: Phrase | None) -> list[EnglishWord]:
    return [word for phrase in phrases if phrase for word in phrase.english]


def _japanese(*phrases: Phrase | None) -> list[JapaneseWord]:
    return [word for phrase in phrases if phrase for word in phrase.japanese]


def english_tail(clause: Clause) -> list[EnglishWord]:
    """Everything after the English verb, but not the time."""
    return _english(clause.object, clause.recipient, clause.destination, clause.place, clause.companion, clause.means)


def japanese_body(clause: Clause, place: bool = True) -> list[JapaneseWord]:
    """Everything between the Japanese subject and the verb."""
    now = clause.adverb and [word.text for word in clause.adverb.english] == ["now"]
    body = _japanese(
        None if now else clause.adverb,
        clause.place if place else None,
        clause.adverb if now else None,
        clause.means,
        clause.recipient,
        clause.destination,
        clause.companion,
    )
    if not clause.object:
        return body
    mark = VERBS[clause.verb].particle
    if clause.verb == "want" and clause.negative:
        mark = "は"  # what is not wanted is set against what is: 桃 は 欲しく ない です
    return body + marked(clause.object, mark)


def statement(subject: Phrase, clause: Clause) -> Phrase:
    """A sentence with the English words in the order of a statement."""
    group = verb_group(clause, subject)
    adverb = _english(clause.adverb)
    early, late = (adverb, []) if adverb and adverb[0].text == "often" else ([], adverb)
    time = _english(clause.time)
    english = (
        (time if clause.time_first else [])
        + subject.english
        + group.auxiliaries
        + group.negation
        + early
        + group.main
        + english_tail(clause)
        + late
        + ([] if clause.time_first else time)
    )
    japanese = _japanese(clause.time)
    through = clause.place and clause.place.japanese[-1].text == "を"  # 庭 を belongs to its verb
    if subject.mark == "が" and not through:  # news about something not yet known: the place is set first
        japanese += _japanese(clause.place) + marked(subject, "が") + japanese_body(clause, place=False)
    else:
        japanese += topic(subject) + japanese_body(clause)
    return Phrase(english, japanese + group.japanese)


def topic(subject: Phrase) -> list[JapaneseWord]:
    """The subject with は. "you" is not said in Japanese, so it takes no particle either."""
    return marked(subject, subject.mark) if subject.japanese else []


def question(subject: Phrase, clause: Clause, question_word: Phrase | None = None) -> Phrase:
    """A question in which the English auxiliary stands before the subject; か is added by `finish`.

    The English question word opens the sentence. The Japanese one is in a field of `clause`: it stays
    where its answer would stand.
    """
    group = verb_group(clause, subject, question=True)
    adverb = _english(clause.adverb)
    early, late = (adverb, []) if adverb and adverb[0].text == "often" else ([], adverb)
    english = (
        _english(question_word)
        + group.auxiliaries
        + subject.english
        + early
        + group.main
        + english_tail(clause)
        + late
        + _english(clause.time)
    )
    return Phrase(english, _japanese(clause.time) + topic(subject) + japanese_body(clause) + group.japanese)


def relative(clause: Clause, head: Phrase, who: str, subject: Phrase | None = None) -> Phrase:
    """A relative clause about `head`: its subject is missing, or its object when `subject` is given.

    "who"/"that" has no counterpart in Japanese, where the clause stands before the noun in the plain form.
    """
    group = verb_group(clause, subject or head, ending="plain")
    english = (
        en(who) + _english(subject) + group.auxiliaries + group.main + english_tail(clause) + _english(clause.time)
    )
    japanese = _japanese(clause.time) + (marked(subject, "が") if subject else []) + japanese_body(clause)
    return Phrase(english, japanese + group.japanese)


def verb_phrase_in_plain_form(clause: Clause) -> tuple[list[EnglishWord], list[JapaneseWord]]:
    """The verb phrase of "to swim in the river", in the base form and the dictionary form."""
    verb = VERBS[clause.verb]
    main = en(verb.english[0])
    return main + english_tail(clause), japanese_body(clause) + [ja(verb.plain, main)]


def te_join(subject: Phrase, first: Clause, second: Clause) -> Phrase:
    """Two verb phrases with one subject: "went home and slept" → the first verb in the て-form.

    The tense of the first verb is not said in Japanese: て and で link to "and".
    """
    word = en("and")
    opening, closing = verb_group(first, subject, ending="te"), verb_group(second, subject)
    closing_words = closing.main if second.aspect != "will" else en(VERBS[second.verb].english[0])
    if second.aspect == "will":  # one "will" for both verbs: it links to the ending of the last
        closing.auxiliaries, closing.main = opening.auxiliaries, closing_words
        closing.japanese = japanese_verb(VERBS[second.verb], closing, "will", False, "polite")
    time = _english(first.time)
    english = (
        (time if first.time_first else [])
        + subject.english
        + opening.auxiliaries
        + opening.main
        + english_tail(first)
        + word
        + closing.main
        + english_tail(second)
        + ([] if first.time_first else time)
    )
    te = particle("で" if VERBS[first.verb].voiced else "て", word)
    japanese = (
        _japanese(first.time)
        + topic(subject)
        + japanese_body(first)
        + opening.japanese
        + [te]
        + japanese_body(second)
        + closing.japanese
    )
    return Phrase(english, japanese)
