"""The grammar that writes the English-Japanese corpus: both sentences of a pair at once, with their links."""
