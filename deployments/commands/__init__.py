"""The commands of `acms`, a module for each group; cli.py imports one only when it is called."""
