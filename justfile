# One command for the whole gate: what CI runs, in the environment you are in.
gate: lint types rooms test

# Style: ruff with all rules, and its formatter.
lint:
    ruff check .
    ruff format --check .

# Types: mypy strict over the product and its tests.
types:
    mypy
    mypy tests benchmarks examples

# Rooms: each folder imports only those above it.
rooms:
    lint-imports

# The tests, as the README runs them.
test:
    pytest

# Write the generated pages again after a command or a machine has changed.
docs:
    python -m prefect_acms.deployments.reference

# What an audited transition costs, as a ratio to raw sqlite3.
bench:
    python benchmarks/transitions.py
