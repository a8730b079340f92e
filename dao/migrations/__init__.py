"""The numbered migrations of the canonical database; each does one thing, up and down, whole or not at all."""
