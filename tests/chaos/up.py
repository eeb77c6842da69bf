"""`python -m tests.chaos.up DATA_DIR PORT SECOND_PORT`: `morningai up` with patched services, each of them twice."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from dataclasses import replace
from pathlib import Path

from morningai.embedded.child_part import ChildRunner
from morningai.embedded.data_dir import DataDir
from morningai.embedded.leftover import end_leftovers
from morningai.embedded.lock import exclusive_lock
from morningai.embedded.part import Part, PartState
from morningai.embedded.plan import Kernel, make_plan
from morningai.embedded.services import SERVICES, ServiceCommand, service_part
from morningai.embedded.supervisor import RestartPolicy, Supervisor
from tests.chaos.fail_points import REPLICA

# A run kills more often than a machine does.
POLICY = RestartPolicy(most_deaths=1000)
TAP_USER, TAP_PASSWORD = "tap", "heard-by-the-tests-alone"
HOST = "127.0.0.1"


class Silent:
    def on_part_state(self, name: str, state: PartState, seconds: float, detail: str) -> None:
        if state in (PartState.DIED, PartState.FAILED):
            print(json.dumps({"event": state.value, "part": name, "detail": detail[:2000]}), flush=True)


def with_tap(authorization: str) -> str:
    """One more user beside the services, who may hear everything."""
    user = json.dumps({"user": TAP_USER, "password": TAP_PASSWORD})
    places = ('"jetstream": "enabled",\n    "users": [', f"{user},"), ('"auth_users": [', f'"{TAP_USER}",')
    for place, entry in places:
        assert authorization.count(place) == 1, place
        authorization = authorization.replace(place, f"{place}{entry}")
    return authorization


def command(name: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "tests.chaos.service", name)


def second(part: Part, data_dir: DataDir, address: str) -> Part:
    """Another replica of a service, with sockets and a folder of its own; it calls the other second ones."""
    assert isinstance(part.runner, ChildRunner)
    name = f"{part.name}-2"
    environment = dict(part.runner.child.command.environment or {})
    for other in SERVICES:
        variable = f"MORNINGAI_{other.upper()}_ADDRESS"
        if variable in environment:
            environment[variable] = socket(other, data_dir)
    environment |= {"MORNINGAI_GRPC_ADDRESS": address, "MORNINGAI_WORK_DIR": str(data_dir.work / name), REPLICA: name}
    made = service_part(name, data_dir, ServiceCommand(lambda _: command(part.name)), environment)
    # Tenancy makes the streams, and one at a time is enough for the first start.
    return replace(made, depends_on=(*made.depends_on, "tenancy"))


def socket(name: str, data_dir: DataDir) -> str:
    return f"unix:{data_dir.sockets() / name}-2.sock"


async def main(folder: Path, port: int, second_port: int) -> None:
    data_dir = DataDir.at(folder)
    with exclusive_lock(data_dir.lock_file):
        await end_leftovers(data_dir.root)
        real = Kernel.real()
        kernel = replace(
            real,
            command=ServiceCommand(command),
            nats_authorization=lambda secrets: with_tap(real.nats_authorization(secrets)),
        )
        plan = make_plan(data_dir, kernel, gateway_address=f"{HOST}:{port}", local_model=True)
        services = [part for part in plan.parts if part.name in SERVICES]
        addresses = {name: socket(name, data_dir) for name in SERVICES} | {"gateway": f"{HOST}:{second_port}"}
        seconds = [second(part, data_dir, addresses[part.name]) for part in services]
        supervisor = Supervisor((*plan.parts, *seconds), Silent(), policy=POLICY)
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, supervisor.request_stop)
        try:
            if await supervisor.start():
                print(json.dumps({"event": "ready", "bus": plan.bus}), flush=True)
                await supervisor.wait_until_stopped()
        finally:
            await supervisor.stop()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
