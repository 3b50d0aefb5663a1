"""The only place that builds clients: each on first use, once for an execution environment."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

from aws_lambda_powertools import Logger

from chatrelay.aws.files import Files
from chatrelay.aws.invoke import PushInvoker, WorkerInvoker
from chatrelay.aws.management_api import CONCURRENT_POSTS, ManagementApi
from chatrelay.domain.devices import Platform, PushEnvironment
from chatrelay.domain.prices import Prices
from chatrelay.push.service import Service
from chatrelay.relay.acceptance import Acceptance
from chatrelay.relay.admission import Admission
from chatrelay.relay.agent_registry import AgentRegistry
from chatrelay.relay.dispatch import Dispatcher
from chatrelay.relay.failures import Failures
from chatrelay.relay.recovery import Recovery
from chatrelay.relay.replay import Replay
from chatrelay.relay.resume import ResumeService
from chatrelay.relay.revocation import Revocation
from chatrelay.relay.telemetry import Telemetry
from chatrelay.settings import BridgeHub, Claude, Environment, Handshake, Oidc, OpenAI, Push
from chatrelay.store.store import Store
from chatrelay.store.table import Table
from chatrelay.wire.limits import AGENTS

if TYPE_CHECKING:
    from chatrelay.agents import Agent
    from chatrelay.aws.parameters import Prompt
    from chatrelay.push.notifier import Notifier
    from chatrelay.relay.conversation_worker import ConversationWorker
    from chatrelay.tokens.tokens import Tokens


class Wiring:
    """What a function is made of. Building one reads and opens nothing."""

    @cached_property
    def telemetry(self) -> Telemetry:
        return Telemetry(Logger())

    @cached_property
    def environment(self) -> Environment:
        return Environment(os.environ)

    @cached_property
    def handshake(self) -> Handshake:
        return Handshake.read(self.environment)

    @cached_property
    def store(self) -> Store:
        name = self.environment.text("TABLE_NAME")
        return Store(
            lambda: Table.connect(name),
            # For heartbeats: one that takes long has missed its point, and the next one is due.
            lambda: Table.connect(name, read_timeout_s=1, attempts=3),
            lambda: self.environment.limits("LIMITS"),
        )

    @property
    def websocket_url(self) -> str:
        """Where clients connect: both of API Gateway's addresses for one stage differ in nothing but the scheme."""
        return "ws" + self.environment.text("MANAGEMENT_ENDPOINT").removeprefix("http")

    @cached_property
    def api(self) -> ManagementApi:
        return ManagementApi.connect(self.environment.text("MANAGEMENT_ENDPOINT"))

    @cached_property
    def admission(self) -> Admission:
        session_s = 60 * self.environment.number("SESSION_MINUTES", least=0)
        return Admission(self.store, lambda: self._tokens, session_s, Logger())

    @cached_property
    def _tokens(self) -> "Tokens | None":
        # Cryptography takes its time to import: only a deployment that names an issuer pays for it.
        if not (oidc := Oidc.read(self.environment)).issuers:
            return None
        from chatrelay.tokens.documents import Documents
        from chatrelay.tokens.tokens import Tokens

        return Tokens(oidc.issuers, Documents(), Logger())

    @cached_property
    def revocation(self) -> Revocation:
        return Revocation(self.store, self.api)

    @cached_property
    def dispatcher(self) -> Dispatcher:
        return Dispatcher(self.store, self.api, self.resume, self.workers, self.telemetry, self.admission)

    @cached_property
    def resume(self) -> ResumeService:
        return ResumeService(self.store, self.replay, self.recovery)

    @cached_property
    def recovery(self) -> Recovery:
        return Recovery(self.store, self.replay, self.workers, self.pushes, self.telemetry)

    @cached_property
    def replay(self) -> Replay:
        return Replay(self.store, self.api, ThreadPoolExecutor(CONCURRENT_POSTS, "replay"))

    @cached_property
    def failures(self) -> Failures:
        return Failures(self.store, self.dispatcher, self.recovery)

    @cached_property
    def acceptance(self) -> Acceptance:
        return Acceptance(self.store, self.recovery, self._registry, lambda: self.files)

    @cached_property
    def files(self) -> Files:
        return Files.connect(self.environment.text("FILES_BUCKET"))

    @cached_property
    def agents(self) -> tuple[str, ...]:
        """The names of the agents of this deployment, none of which is built for this."""
        return AGENTS if self.environment.text("CODEX_BACKEND") != "none" else ("claude",)

    @cached_property
    def worker(self) -> "ConversationWorker":
        from chatrelay.relay.conversation_worker import ConversationWorker
        from chatrelay.relay.reply_writer import ReplyWriter

        self.store.open()  # with the wake-up call, instead of with the first message
        writer = partial(
            ReplyWriter,
            store=self.store,
            api=self.api,
            threads=ThreadPoolExecutor(CONCURRENT_POSTS, "post"),  # posts that hang must keep no heartbeat waiting
            workers=self.workers,
            pushes=self.pushes,
            telemetry=self.telemetry,
            agents=self._registry,
            prices=lambda: self.prices,
            files=lambda: self.files,
        )
        return ConversationWorker(
            self.store, self.dispatcher, self.acceptance, self.recovery, self.api, self.telemetry, writer
        )

    @cached_property
    def prices(self) -> Prices:
        return Prices.read(self.environment.text("MODEL_PRICES"))

    @cached_property
    def _registry(self) -> AgentRegistry:
        # Each on its first message: a wrong address of Codex's must not take Claude down.
        made: dict[str, Callable[[], Agent]] = {"claude": lambda: self._claude, "codex": lambda: self._codex}
        return AgentRegistry({name: made[name] for name in self.agents})

    @cached_property
    def _claude(self) -> "Agent":
        # The SDK takes a second to import: only the function that talks to a model may pay for it.
        from chatrelay.agents import claude
        from chatrelay.agents.fallback import Fallback
        from chatrelay.agents.mending import Mending
        from chatrelay.aws.parameters import Key

        settings = Claude.read(self.environment)
        client = (claude.bedrock if settings.bedrock else claude.client)(settings.read_timeout_s)
        key = None if settings.bedrock else Key(settings.secret)
        prompt = self._prompt(settings.prompt)
        agent: Agent = claude.Claude(client, key, prompt, settings)
        if settings.fallback_model:  # within `Mending`: what neither model takes is mended once
            other = claude.Claude(client, key, prompt, replace(settings, model=settings.fallback_model))
            agent = Fallback(agent, other)
        return Mending(agent)

    @cached_property
    def _codex(self) -> "Agent":
        from chatrelay.agents import codex, openai
        from chatrelay.agents.mending import Mending
        from chatrelay.aws.parameters import Key

        if self.environment.text("CODEX_BACKEND") == "openai":
            at = OpenAI.read(self.environment)
            client = openai.client(at.base_url, at.read_timeout_s)
            agent: Agent = openai.OpenAI(client, Key(at.secret), self._prompt(at.prompt), at)
        else:
            hub = BridgeHub.read(self.environment)
            agent = codex.Codex(codex.client(hub.base_url), Key(hub.secret), hub)
        return Mending(agent, reads_text_only=True)

    def _prompt(self, name: str) -> "Prompt | None":
        from chatrelay.aws.parameters import Prompt

        return Prompt(name) if name else None

    @cached_property
    def workers(self) -> WorkerInvoker:
        return WorkerInvoker.connect(self.environment.text("MESSAGE_FUNCTION"))

    @cached_property
    def pushes(self) -> PushInvoker:
        return PushInvoker.connect(self.environment.text("NOTIFY_FUNCTION"))

    @cached_property
    def notifier(self) -> "Notifier":
        from chatrelay.aws.parameters import Secret
        from chatrelay.push.apns import Account, Apns
        from chatrelay.push.fcm import Fcm
        from chatrelay.push.notifier import Notifier
        from chatrelay.push.transport import PushTransport

        settings = Push.read(self.environment)
        transport = PushTransport()
        services: dict[Platform, Service] = {}
        if settings.apns_secret:
            hosts = {PushEnvironment.PRODUCTION: settings.apns_url, PushEnvironment.SANDBOX: settings.apns_sandbox_url}
            account = Account(settings.apns_team, settings.apns_key_id, settings.apns_bundle)
            services[Platform.IOS] = Apns(transport, Secret(settings.apns_secret), account, hosts)
        if settings.fcm_secret:
            services[Platform.ANDROID] = Fcm(transport, Secret(settings.fcm_secret), settings.fcm_url)
        return Notifier(self.store.devices, self.store.pushes, services, previews=settings.previews)
