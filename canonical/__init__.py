"""The law: lifecycles as tables, verdicts, events, errors. Standard library only; does nothing, knows nobody."""
