"""What one run may spend: its lease, from the rendered prompt to the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from services.inference.runs.events import RunUsage
from services.ledger.admission import Admission, Spent
from services.ledger.lease import Lease
from services.ledger.limits import Payer
from services.rpc.quota_errors import rate_headers


class Purse(Protocol):
    """What the loop of a run needs to know of what the run may spend."""

    async def open(self, prompt_tokens: int) -> None:
        """Ask for the first prompt and its answer.

        Raises:
            ServiceError: A limit stands in the way, or cannot be looked at.
        """
        ...

    async def begin_turn(self, prompt_tokens: int, used: int) -> bool:
        """Ask for another turn, with the tokens of all prompts and of all answers so far.

        Returns:
            False where a budget does not have it.
        """
        ...

    def covers(self, used: int) -> bool:
        """Whether another token of answer may come, when there were this many."""
        ...

    async def wait_for_more(self, used: int) -> bool:
        """Ask for more where nothing is left; False where a budget has nothing left."""
        ...

    def ceiling(self, used_before: int) -> Callable[[], int | None]:
        """Tells how many tokens a turn may have by now; None where nothing limits them."""
        ...


class RunPurse:
    """A purse that is a lease."""

    def __init__(
        self,
        admission: Admission,
        lease_id: str,
        payer: Payer,
        *,
        nested: bool = False,
        before: RunUsage | None = None,
    ) -> None:
        """Spend for this payer.

        Args:
            admission: Lets runs in.
            lease_id: Names the lease and its record: the run's id, unless that had a lease before.
            payer: Who asks.
            nested: A tool of another run asks; see `services.ledger.limits.Terms`.
            before: What the run used under a lease before.
        """
        self._admission = admission
        self._lease_id = lease_id
        self._before = before or RunUsage()
        self._payer = payer
        self._nested = nested
        self._lease: Lease | None = None

    async def open(self, prompt_tokens: int) -> None:
        """See `Purse.open`."""
        self._lease = await self._admission.admit(
            self._lease_id, self._payer, prompt=prompt_tokens, nested=self._nested
        )

    async def begin_turn(self, prompt_tokens: int, used: int) -> bool:
        """See `Purse.begin_turn`."""
        if self._lease is None:
            return True
        prompts = prompt_tokens - self._before.prompt_tokens
        return await self._lease.begin_turn(prompts, self._own(used))

    def covers(self, used: int) -> bool:
        """See `Purse.covers`."""
        return self._lease is None or self._lease.covers(self._own(used))

    async def wait_for_more(self, used: int) -> bool:
        """See `Purse.wait_for_more`."""
        return self._lease is None or await self._lease.wait_for_more(self._own(used))

    def ceiling(self, used_before: int) -> Callable[[], int | None]:
        """See `Purse.ceiling`."""

        def granted() -> int | None:
            ceiling = self._lease.ceiling if self._lease is not None else None
            return None if ceiling is None else ceiling + self._before.completion_tokens - used_before

        return granted

    def headers(self) -> tuple[tuple[str, str], ...]:
        """The limit nearest to its end, as callers over HTTP read it."""
        standing = self._lease.standing if self._lease is not None else None
        return rate_headers(standing.limit, standing.left, standing.reset) if standing is not None else ()

    def _own(self, completion_tokens: int) -> int:
        """How many of a run's tokens this lease is for."""
        return max(0, completion_tokens - self._before.completion_tokens)

    async def close(self, used: RunUsage, tool_calls: int) -> None:
        """Settle, if the run was let in at all."""
        if self._lease is None:
            return
        spent = Spent(
            prompt_tokens=used.prompt_tokens - self._before.prompt_tokens,
            cached_prompt_tokens=used.cached_prompt_tokens - self._before.cached_prompt_tokens,
            completion_tokens=self._own(used.completion_tokens),
            tool_calls=tool_calls,
        )
        await self._admission.settle(self._lease, spent)
