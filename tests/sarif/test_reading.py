"""What a SARIF log may say in more than one way, and what is no SARIF."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prefect_acms.canonical.errors import InvalidDocument
from prefect_acms.canonical.outside_errors import SourceFailed
from prefect_acms.tasks.sarif.checking import log_of, problem_of
from prefect_acms.tasks.sarif.columns import lines_of, span_of
from prefect_acms.tasks.sarif.messages import plain, text_of
from prefect_acms.tasks.sarif.reading import Finding, findings_of
from prefect_acms.tasks.sources import Scan
from prefect_acms.tasks.sources.sarif import SarifSource

ScanOf = Callable[..., Scan]


def log_with(*results: dict[str, Any], **run: Any) -> dict[str, Any]:
    """A log of one run."""
    told = [{"message": {"text": "m"}, **one} for one in results]
    made = {"tool": {"driver": {"name": "x"}}, "results": told}
    return {"version": "2.1.0", "runs": [{**made, **run}]}


def located(**location: Any) -> dict[str, Any]:
    """A result at an artifact location."""
    return {"locations": [{"physicalLocation": {"artifactLocation": location}}]}


def in_region(**region: Any) -> dict[str, Any]:
    """A result in a region of a file."""
    return {"locations": [{"physicalLocation": {"artifactLocation": {"uri": "a.py"}, "region": region}}]}


REGION = "/runs/0/results/0/locations/0/physicalLocation/region"


def first(log: dict[str, Any], root: Path) -> Finding:
    """The first finding of a log, which has to be valid."""
    assert problem_of(log) is None
    return findings_of(log, root)[0]


@pytest.mark.parametrize(
    ("document", "where", "problem"),
    [
        ({}, "document", "'version' is a required property"),
        ([], "document", "[] is not of type 'object'"),
        ({"version": "2.0.0", "runs": []}, "/version", "'2.0.0' is not one of ['2.1.0']"),
        ({"version": "2.1.0", "runs": [{}]}, "/runs/0", "'tool' is a required property"),
        (log_with({"level": "fatal"}), "/runs/0/results/0/level", "'fatal' is not one of"),
        (log_with({"message": {}}), "/runs/0/results/0/message", "is not valid under any"),
        (log_with({"locations": 3}), "/runs/0/results/0/locations", "3 is not of type 'array'"),
        (log_with({"a/b~c": 1}), "/runs/0/results/0", "Additional properties are not allowed"),
        (log_with(artifacts=[{"length": 1}, {"length": 1}]), "/runs/0/artifacts", "entries 0 and 1 are equal"),
        (log_with({"rank": float("nan")}), "/runs/0/results/0/rank", "nan is no number of JSON"),
        (log_with({"properties": {"a/b": [1, float("inf")]}}), "/runs/0/results/0/properties/a~1b/1", "inf is no"),
        (log_with({"ruleId": "\udc00"}), "/runs/0/results/0/ruleId", "half of a surrogate pair"),
        (log_with({"message": {"text": "a\ud83d"}}), "/runs/0/results/0/message/text", "half of a surrogate pair"),
        (log_with({"properties": {"\ud83d": 1}}), "/runs/0/results/0/properties", "a key with half of a surrogate"),
        (log_with(in_region(startLine=10**30)), f"{REGION}/startLine", "is greater than the maximum of 2147483647"),
        (log_with(in_region(startLine=1, endColumn=2**31)), f"{REGION}/endColumn", "is greater than the maximum"),
        (log_with({"guid": "4"}), "/runs/0/results/0/guid", "does not match"),
        (log_with(originalUriBaseIds={"A/~": {"uri": 1}}), "/runs/0/originalUriBaseIds/A~1~0/uri", "1 is not of type"),
    ],
)
def test_what_is_not_sarif_is_refused_with_its_place(document: object, where: str, problem: str) -> None:
    """As a JSON pointer, and in a line."""
    with pytest.raises(InvalidDocument) as refused:
        log_of(json.dumps(document).encode(), "a.sarif")
    assert refused.value.facts["where"] == where
    assert problem in str(refused.value)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000, b"9" * 5000])
def test_what_is_not_json_is_refused(content: bytes) -> None:
    """However it is broken."""
    with pytest.raises(InvalidDocument):
        log_of(content, "a.sarif")


def test_what_is_nested_endlessly_is_refused_with_its_place() -> None:
    """Before somebody who copies or stores it comes to the end of the stack."""

    def nested(levels: int) -> bytes:
        return json.dumps(log_with({"properties": {"a": json.loads("[" * levels + "]" * levels)}})).encode()

    assert log_of(nested(150), "a.sarif")
    with pytest.raises(InvalidDocument, match="nested too deeply") as refused:
        log_of(nested(800), "a.sarif")
    assert str(refused.value.facts["where"]).startswith("/runs/0/results/0/properties/a/0/0/")


def test_the_null_descriptions_of_ruff_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """With a warning that names the place; a description that is wrong in another way is refused."""

    def fixing(description: dict[str, Any]) -> bytes:
        fixes = [
            {
                "description": description,
                "artifactChanges": [
                    {"artifactLocation": {"uri": "a.py"}, "replacements": [{"deletedRegion": {"startLine": line}}]}
                ],
            }
            for line in (1, 2)
        ]
        return json.dumps(log_with({}, {"fixes": fixes})).encode()

    log = log_of(fixing({"text": None}), "a.sarif")
    assert [list(fix) for fix in log["runs"][0]["results"][1]["fixes"]] == [["artifactChanges"]] * 2
    assert problem_of(log) is None
    (warning,) = caplog.messages
    assert warning.startswith("a.sarif: /runs/0/results/1/fixes/0/description/text is null, and 1 more; ")
    for wrong in ({"text": 1}, {"text": None, "id": "x"}, {}):
        with pytest.raises(InvalidDocument, match="/runs/0/results/1/fixes/0/description"):
            log_of(fixing(wrong), "a.sarif")


def test_runs_may_be_null(tmp_path: Path) -> None:
    """As errata 01 has it: the tool failed before it could tell anything."""
    assert findings_of(log_of(b'{"version": "2.1.0", "runs": null}', "a.sarif"), tmp_path) == ()


FROM_SRC = {"uri": "a.py", "uriBaseId": "SRC"}


@pytest.mark.parametrize(
    ("location", "bases", "path"),
    [
        ({"uri": "src/a.py"}, {}, "src/a.py"),
        ({"uri": "./src/../src/a%2Epy"}, {}, "src/a.py"),
        (FROM_SRC, {"SRC": {"uri": "src/", "uriBaseId": "TOP"}, "TOP": {"uri": "file:///x/"}}, "src/a.py"),
        (FROM_SRC, {"SRC": {"uri": "file:///ci/src/"}, "TOP": {"uri": "file:///ci/"}}, "src/a.py"),
        ({"uri": "file:///elsewhere/src/a.py"}, {}, "src/a.py"),
        ({"uri": "a.py", "uriBaseId": "NOWHERE"}, {}, "src/a.py"),
        ({"uri": "file:///C:/build/src/a.py"}, {"TOP": {"uri": "file:///C:/build"}}, "src/a.py"),
        ({"uri": "file://host/ci/src/a.py"}, {"TOP": {"uri": "file:///ci"}}, "src/a.py"),
        ({"uri": "src\\a.py"}, {}, "src/a.py"),
        ({"index": 0}, {}, "src/a.py"),
        ({"uri": "new.py"}, {}, "new.py"),
        ({"uri": "../a.py"}, {}, None),
        ({"uri": ".git/config"}, {}, None),
        ({"uri": "file:///etc/passwd"}, {}, None),
        ({"uri": "https://example.com/src/a.py"}, {}, None),
        ({"uri": "a.py", "uriBaseId": "A"}, {"A": {"uri": "b/", "uriBaseId": "A"}}, "b/a.py"),
        ({"index": 7}, {}, None),
    ],
)  # fmt: skip
def test_a_location_becomes_a_path_of_the_tree(
    location: dict[str, Any], bases: dict[str, Any], path: str | None, tmp_path: Path
) -> None:
    """Through bases, indices, machines and escapes; what is not in the tree has no path."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src/a.py").touch()
    log = log_with(located(**location), originalUriBaseIds=bases, artifacts=[{"location": {"uri": "src/a.py"}}])
    assert first(log, tmp_path).places[0].path == path


def test_a_path_may_be_told_from_the_tree_itself(tmp_path: Path) -> None:
    """By an absolute one, also where the tree is reached through a link; a link out of the tree is no file of it."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real/a.py").touch()
    (tmp_path / "real/out").symlink_to("/etc/passwd")
    (tmp_path / "link").symlink_to("real")
    for top in ("real", "link"):
        log = log_with(located(uri=(tmp_path / top / "a.py").as_uri()))
        assert first(log, tmp_path / "link").places[0].path == "a.py"


RULE = {"id": "R", "guid": "1a53e2b1-6b1a-4b68-8b25-9d4b3f3e2a10", "defaultConfiguration": {"level": "error"}}


@pytest.mark.parametrize(
    ("result", "rule_id", "level"),
    [
        ({"ruleId": "R"}, "R", "error"),
        ({"ruleIndex": 0}, "R", "error"),
        ({"ruleId": "R/2", "ruleIndex": 0}, "R/2", "error"),
        ({"ruleId": "R/2"}, "R/2", "error"),
        ({"ruleId": "R", "level": "note"}, "R", "note"),
        ({"rule": {"guid": RULE["guid"]}}, "R", "error"),
        ({"rule": {"id": "E", "index": 0, "toolComponent": {"name": "plug"}}}, "E", "note"),
        ({"rule": {"index": 0, "toolComponent": {"index": 0}}}, "E", "note"),
        ({"ruleId": "other", "ruleIndex": 0}, "other", "warning"),
        ({"ruleId": "R", "ruleIndex": 9}, "R", "error"),
        ({"ruleId": "O"}, "O", "note"),
        ({}, "unnamed", "warning"),
        ({"ruleId": "R", "kind": "review"}, "R", "none"),
    ],
)
def test_a_result_finds_its_rule(result: dict[str, Any], rule_id: str, level: str, tmp_path: Path) -> None:
    """By id, index, guid or component; its level is its own, else the configured one, else that of the rule."""
    extension = {"name": "plug", "rules": [{"id": "E", "defaultConfiguration": {"level": "note"}}]}
    log = log_with(result)
    log["runs"][0]["tool"] = {"driver": {"name": "x", "rules": [RULE, {"id": "O"}]}, "extensions": [extension]}
    override = {"configuration": {"level": "note"}, "descriptor": {"id": "O"}}
    log["runs"][0]["invocations"] = [{"executionSuccessful": True, "ruleConfigurationOverrides": [override]}]
    found = first(log, tmp_path)
    assert (found.rule_id, found.level) == (rule_id, level)


@pytest.mark.parametrize(
    ("result", "is_open"),
    [
        ({}, True),
        ({"kind": "pass"}, False),
        ({"kind": "notApplicable"}, False),
        ({"baselineState": "absent"}, False),
        ({"baselineState": "new"}, True),
        ({"suppressions": []}, True),
        ({"suppressions": [{"kind": "inSource"}]}, False),
        ({"suppressions": [{"kind": "external", "status": "accepted"}]}, False),
        ({"suppressions": [{"kind": "external", "status": "underReview"}]}, True),
        ({"suppressions": [{"kind": "external", "status": "rejected"}]}, True),
    ],
)
def test_what_is_open(result: dict[str, Any], *, is_open: bool, tmp_path: Path) -> None:
    """What fails, is there, and nobody has accepted."""
    assert first(log_with(result), tmp_path).is_open is is_open


TEXT = 'a = "é😀b"\r\nc\nlast'


@pytest.mark.parametrize(
    ("region", "kind", "said"),
    [
        ({"startLine": 1, "startColumn": 9, "endColumn": 10}, "utf16CodeUnits", "b"),
        ({"startLine": 1, "startColumn": 8, "endColumn": 9}, "unicodeCodePoints", "b"),
        ({"startLine": 1, "startColumn": 7, "endColumn": 9}, "utf16CodeUnits", "😀"),
        ({"startLine": 1}, "utf16CodeUnits", 'a = "é😀b"'),
        ({"startLine": 2, "endLine": 3, "endColumn": 1}, "utf16CodeUnits", "c\n"),
        ({"startLine": 3, "endLine": 4, "endColumn": 1}, "utf16CodeUnits", "last"),
        ({"startLine": 9}, "utf16CodeUnits", None),
        ({"charOffset": 12, "charLength": 1}, "utf16CodeUnits", "\n"),
        ({"charOffset": 99, "charLength": 1}, "utf16CodeUnits", None),
        ({"byteOffset": 3}, "utf16CodeUnits", None),
    ],
)
def test_a_region_is_a_stretch_of_the_text(region: dict[str, Any], kind: str, said: str | None) -> None:
    """Columns are counted as the log says, in UTF-16 code units where it says nothing."""
    span = span_of(region, TEXT, kind)
    assert (None if span is None else TEXT[slice(*span)]) == said


def test_offsets_have_lines_too() -> None:
    """Where the text is known."""
    assert lines_of({"charOffset": TEXT.index("c"), "charLength": 1}, TEXT) == (2, 2)
    assert lines_of({"charOffset": 0}, None) is None
    assert lines_of({"startLine": 2, "endLine": 3, "endColumn": 1}, None) == (2, 2)


def test_messages_are_made_plain() -> None:
    """Arguments filled in, doubled braces single, links their words."""
    message = {"id": "default", "arguments": ["x"]}
    assert text_of(message, {"default": {"text": "{0} in {{}} and {1}"}}) == "x in {} and {1}"
    assert text_of({"text": "f'{0}'"}) == "f'{0}'"
    assert plain("a [b\\]c](2)\n d [e](https://x.y/z) \\[f\\] g[0](1)") == "a b]c d e [f] g0"


def test_a_tools_own_fingerprints_are_the_identity(scan_of: ScanOf, tmp_path: Path) -> None:
    """They hold where lines move and files are renamed; one that several results share says nothing."""

    def found(*results: dict[str, Any]) -> list[str]:
        path = tmp_path / "a.sarif"
        path.write_text(json.dumps(log_with(*results)))
        return [gap.fingerprint for gap in SarifSource().discover(scan_of(path)).gaps]

    own = {"fingerprints": {"v1": "abc"}, "ruleId": "R"}
    one = {**located(uri="app.py"), **own}
    assert found(one) == found({**located(uri="web/cart.js"), **own})
    assert found(one) != found({**one, "fingerprints": {"v1": "abd"}})
    assert found({**located(uri="app.py"), "ruleId": "R"}) != found(one)
    assert len(set(found(one, {**located(uri="web/cart.js"), **own}))) == 2


@pytest.mark.parametrize(
    "region", [{"startLine": 1}, {"charOffset": 0, "startColumn": 1, "endColumn": 4}], ids=["lines", "offset"]
)
def test_what_lies_outside_of_the_tree_is_not_read(
    scan_of: ScanOf, shop: Path, tmp_path: Path, region: dict[str, Any]
) -> None:
    """Neither through a link nor by a name that is none; the finding is told all the same, and nothing of the file."""
    (tmp_path / "outside.py").write_text("said = 'what nobody may see'\n")
    (shop / "out.py").symlink_to(tmp_path / "outside.py")
    path = tmp_path / "a.sarif"
    for uri in ("out.py", "n" * 300):
        result = located(uri=uri)
        place = result["locations"][0]["physicalLocation"]
        place["region"] = region
        replaced = [{"deletedRegion": region, "insertedContent": {"text": "x"}}]
        change = {"artifactLocation": place["artifactLocation"], "replacements": replaced}
        path.write_text(json.dumps(log_with({**result, "fixes": [{"artifactChanges": [change]}]})))
        (gap,) = SarifSource().discover(scan_of(path)).gaps
        assert not gap.fixable
        assert "nobody may see" not in gap.model_dump_json()


def test_no_file_and_a_broken_file(scan_of: ScanOf, tmp_path: Path) -> None:
    """The first fails the source; the second is bad input, which somebody can mend."""
    with pytest.raises(SourceFailed, match=r"discovery\.sarif"):
        SarifSource().discover(scan_of())
    (tmp_path / "a.sarif").write_text('{"version": "2.1.0"}')
    with pytest.raises(InvalidDocument, match="'runs' is a required property"):
        SarifSource().discover(scan_of(tmp_path / "a.sarif"))
