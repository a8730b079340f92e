"""Improve a repository from Python: `python examples/run_pipeline.py path/to/repository`."""

import asyncio
import sys
from pathlib import Path

from prefect_acms.blocks.config import DiscoverySettings, PipelineConfig
from prefect_acms.flows import acms_pipeline
from prefect_acms.flows.outcome import Outcome


def improve(repository: Path) -> Outcome:
    """Fix what ruff finds, and leave it on a branch of its own."""
    config = PipelineConfig(repository=repository, discovery=DiscoverySettings(sources=("ruff",), max_gaps=20))
    return Outcome.model_validate(asyncio.run(acms_pipeline(config)))


if __name__ == "__main__":
    outcome = improve(Path(sys.argv[1]))
    print(outcome.state, outcome.branch)
    sys.exit(outcome.exit_code)
