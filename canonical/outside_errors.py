"""Errors of what is outside of us: sources, tools, servers, channels, forges and git; `errors.py` draws them all."""

from __future__ import annotations

from prefect_acms.canonical.errors import AcmsError


class SourceFailed(AcmsError):
    """One gap source could not do its work; the others go on."""

    sentence = "gap source {source} failed: {problem}"


class EverySourceFailed(SourceFailed):
    """No gap source worked, so nothing is known about the repository."""

    sentence = "every gap source failed: {problem}"


class ServerFailed(AcmsError):
    """The Prefect server that we started did not start, or has ended by itself."""

    sentence = "the Prefect server that was started here {problem}; its log is {log}"


class WorkerFailed(AcmsError):
    """A worker that was to work until it is told to stop could not go on."""

    sentence = "the worker failed: {problem}"


class ToolFailed(AcmsError):
    """A tool could not be run."""

    sentence = "tool {tool} failed: {problem}"


class ToolUnavailable(ToolFailed):
    """The tool is not installed, or no tool can do the task."""

    sentence = "tool {tool} is not available: {problem}"


class ToolTimedOut(ToolFailed):
    """The tool was killed because its time was over."""

    sentence = "tool {tool} was killed after {seconds} s"


class BreakerOpen(ToolFailed):
    """The circuit breaker of the tool is open."""

    sentence = "tool {tool} is held back by its circuit breaker until {until}"


class ChannelFailed(AcmsError):
    """A channel of notifications could not be told, or there is none of that name."""

    sentence = "{channel} could not be told: {problem}"


class ForgeFailed(AcmsError):
    """A forge did not do what it was asked for."""

    sentence = "{forge}: {problem}"


class GitFailed(AcmsError):
    """A git command failed."""

    sentence = "git {command} failed with exit code {exit_code}: {problem}"


class PatchDoesNotApply(GitFailed):
    """git can't apply the patch."""

    sentence = "the patch does not apply: {problem}"


class MergeConflict(GitFailed):
    """Two branches change the same lines."""

    sentence = "merging {branch} into {into} conflicts in {files}"


class RevertConflict(GitFailed):
    """A commit can't be taken back: what came after it is on the same lines."""

    sentence = "commit {commit} can't be taken back: what came later is on the same lines of {files}"


class PushRefused(GitFailed):
    """The remote did not take a branch."""

    sentence = "remote {remote} did not take branch {branch}: {problem}"


class RefMoved(GitFailed):
    """The ref is no longer where it was read."""

    sentence = "{ref} was moved meanwhile: expected {expected}, found {found}"
