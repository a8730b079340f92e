"""SARIF 2.1.0: files of any tool read into findings, and runs told in it."""
