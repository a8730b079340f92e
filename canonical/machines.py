"""All lifecycles of the product, by the name of their entity."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from prefect_acms.canonical.circuit_breaker import CIRCUIT_BREAKER
from prefect_acms.canonical.gap import GAP
from prefect_acms.canonical.machine import Machine
from prefect_acms.canonical.patch import PATCH_LEDGER
from prefect_acms.canonical.run import RUN
from prefect_acms.canonical.task import TASK
from prefect_acms.canonical.test_gate import TEST_GATE
from prefect_acms.canonical.uet_worker import UET_WORKER
from prefect_acms.canonical.worker import WORKER
from prefect_acms.canonical.workstream import WORKSTREAM

VERSION = "2.0.0"
"""Version of the lifecycles; a change of any state or edge changes it."""

MACHINES: Mapping[str, Machine] = MappingProxyType(
    {
        machine.entity: machine
        for machine in (
            RUN,
            WORKSTREAM,
            TASK,
            WORKER,
            UET_WORKER,
            PATCH_LEDGER,
            TEST_GATE,
            CIRCUIT_BREAKER,
            GAP,
        )
    }
)
