"""A service as the supervisor sees one: a gRPC health server on its address, and a greeting in its log."""

import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from types import FrameType

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc


def main(name: str, broken: str) -> None:
    if name == broken:
        print("cannot find the flux capacitor", file=sys.stderr)
        sys.exit(7)
    server = grpc.server(ThreadPoolExecutor(2))
    servicer = health.HealthServicer()
    servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    server.add_insecure_port(os.environ["MORNINGAI_GRPC_ADDRESS"])

    def stop(number: int, frame: FrameType | None) -> None:
        server.stop(0)

    signal.signal(signal.SIGTERM, stop)
    server.start()
    print(f"{name} serves as {os.environ['MORNINGAI_NATS_USER']}", flush=True)
    server.wait_for_termination()


main(sys.argv[1], sys.argv[2])
