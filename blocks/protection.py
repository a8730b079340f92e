"""The files that no patch may change unless the settings say otherwise: those that decide about others."""

from __future__ import annotations

_GIT = (".gitattributes", ".gitmodules")

_HOOKS = (
    # they run on a person's machine with the next commit, unasked
    *(".githooks/", ".husky/", ".pre-commit-config.yaml", ".pre-commit-config.yml", ".pre-commit-hooks.yaml"),
    *("lefthook.yml", "lefthook.yaml", ".lefthook.yml", ".lefthook.yaml", "lefthook-local.yml", ".overcommit.yml"),
)

_WORKFLOWS = (
    # they run with a project's credentials: GitHub, Forgejo and Gitea, GitLab, Azure, CircleCI, Jenkins, Bitbucket …
    *(".github/", ".forgejo/", ".gitea/", ".gitlab-ci.yml", ".gitlab-ci.yaml", ".gitlab-ci/", ".gitlab/", ".ci/"),
    *("azure-pipelines*.yml", "azure-pipelines*.yaml", ".azure-pipelines/", "azure-pipelines/", ".azuredevops/"),
    *(".circleci/", "Jenkinsfile", "Jenkinsfile.*", "*.jenkinsfile", "bitbucket-pipelines.yml", ".travis.yml"),
    *(".drone.yml", ".drone.star", ".drone.jsonnet", ".woodpecker/", ".woodpecker.yml", ".woodpecker.yaml"),
    *(".buildkite/", ".teamcity/", ".cirrus.yml", ".cirrus.star", "appveyor.yml", ".appveyor.yml", ".semaphore/"),
    *("cloudbuild.yaml", "cloudbuild.yml", "buildspec.yml", "buildspec.yaml", "codefresh.yml", ".tekton/", ".builds/"),
    *(".build.yml", "wercker.yml", "bitrise.yml", ".harness/"),
)

_AGENTS = (
    # what the next agent is told, and which programs it starts on a person's machine, unasked
    *("AGENTS.md", "AGENTS.override.md", "AGENT.md", "CLAUDE.md", "CLAUDE.local.md", "GEMINI.md", ".mcp.json"),
    *(".agents/", ".claude/", ".codex/", ".gemini/", ".cursor/", ".cursorrules", ".windsurf/", ".windsurfrules"),
    *(".aider.conf.yml", ".aider.model.settings.yml", ".clinerules", ".continue/", ".junie/", ".roo/", ".kiro/"),
    *(".amazonq/", ".opencode/", "opencode.json", ".aiderignore", ".geminiignore", ".cursorignore"),
)

_OURS = ("acms.toml", ".acmsignore", ".acms_runs/")

PROTECTED = (*_GIT, *_HOOKS, *_WORKFLOWS, *_AGENTS, *_OURS)
"""Patterns as in .gitignore: each holds in every folder, and under every spelling of it that some file system knows."""
