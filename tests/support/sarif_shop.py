"""The little shop that the SARIF files of the producers are about."""

from __future__ import annotations

from pathlib import Path

PRODUCERS = Path(__file__).parents[1] / "sarif" / "producers"

FILES = {
    "app.py": 'import os\n\n\nunused = "é 😀"\n\ndef find(name, db):\n    return db.execute("select " + name)\n'
    '    if name == name:\n        return eval(name)\n    return eval("1")  # nosemgrep\n',
    "web/cart.js": "function sum(items) {\n  let total = 0;\n  if (a == b) { }\n  if (a == null) { }\n}\n",
    "requirements.txt": "setuptools==65.5.0\n",
    "Dockerfile": "FROM python:3.11\n",
    "settings.ini": "[api]\nkey = REDACTED\n",
    "src/Shop/Cart.cs": "class Cart\n{\n    public int Total() { return 1; }\n    int e;\n}\n",
    "native/main.c": "int main(void) {\n  int unused;\n  return 0\n}\n",
    "core/src/lib.rs": "pub fn f(x: u8) -> u8 {\n    return x;\n}\n",
    "infra/my bucket.tf": 'resource "aws_s3_bucket" "assets" {\n  acl = "public-read"\n}\n',
}


def write_shop(folder: Path) -> Path:
    """Write its files, without a repository."""
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder
