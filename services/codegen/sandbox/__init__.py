"""The one place where generated code is run: no network, nothing of this host, and limits on all else."""

from services.codegen.sandbox.host import sandbox_unavailable
from services.codegen.sandbox.limits import Limits
from services.codegen.sandbox.run import Sandbox, SandboxedRun

__all__ = ["Limits", "Sandbox", "SandboxedRun", "sandbox_unavailable"]
