"""Decrees as data: the vocabulary of policies, loading with line-exact errors, and the case files that test them."""
