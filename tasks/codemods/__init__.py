"""Codemods: deterministic edits that were learned from patches of AI tools which were accepted."""
