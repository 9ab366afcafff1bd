"""The small library behind the Flycatcher notebooks: finished versions of what the chapters build.

A name lives in the module it is imported from. Arrows go one way, from the bottom of this table to its top.

    module             what it holds                                             built in chapter
    start              what the setup cell calls                                 -
    common             checks of sizes and ids, evaluation mode                  -
    data               words with their one split, parallel text, agreement      -
    text               Tokenizer, Vocabulary                                     2
    attention          masks, masked softmax, scaled dot-product, multi-head     1, 3
    classic_attention  Bahdanau's and Luong's attention                          2
    generation         greedy, sampling, beam search                             4
    seq2seq            the recurrent encoder-decoder                             2
    layers             positions, embedding, feed-forward, the two layers        1, 4
    transformer        sizes, MiniFormer, Transformer                            4, 5
    batches            examples of like length, by number or by words            -
    training           fit, evaluate, losses, schedules                          -
    translation        loss, BLEU, exact match, alignment error                  2
    saving             a translator with all that it needs, in one file          -
    collect            attention weights out of any module                       3
    analysis           entropy, distance, intervals, leaks                       1, 5
    glyphs             tokens that the pictures' font can write                  -
    plots              charts and heat maps                                      -
    diagrams           the drawings of attention, and what drawings are made of  -
    model_diagrams     the drawings of whole models                              -
    bertviz_views      BertViz made safe, weights as files                       -
    playground         attention and models to play with, running in the page    3, 4, 5
    checks             the exercise checkers                                     -

Nothing here imports from a notebook.
"""
