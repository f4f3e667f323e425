"""The training run: steps until the wall clock says stop, checkpoints on the way, a log of the loss."""

import copy
import json
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch.nn import functional

from parley_demo.batches import Batch, Feed, Stream, drills
from parley_demo.copying_start import lay_copying_circuit
from parley_demo.export import export, load_weights
from parley_demo.model import Llama, Shape
from parley_demo.optimizer import optimizers


@dataclass(frozen=True)
class Plan:
    """What a run is to do; rates are per step, times in minutes of training."""

    minutes: float
    seed: int = 1
    batch_tokens: int = 3600
    muon_rate: float = 0.012
    adam_rate: float = 3e-3
    warm_steps: int = 30
    average: float = 0.995
    """How much of the averaged weights, which are what is exported, outlives a step."""
    cooling: float = 0.7
    """The last share of the run, in which the rates fall to zero."""
    copying_minutes: float = 3.0
    """At first most examples are pure copying, which the calls and answers build on."""
    copying_rate: float = 0.6
    """The share of the rates in those minutes, so that the circuit laid at the start is not washed out."""
    save_every_minutes: float = 12.0
    report_every_minutes: float = 0.5
    shape: Shape = field(default_factory=Shape)
    device: str = "cpu"
    workers: int = 0
    """Processes that make the batches; a GPU needs about twelve to be kept busy, a CPU none."""

    def gentler(self, share: float) -> "Plan":
        """The same with this share of the rates."""
        return replace(self, muon_rate=share * self.muon_rate, adam_rate=share * self.adam_rate)


@dataclass
class Progress:
    """How far a run has come."""

    step: int = 0
    minutes: float = 0.0
    tokens: int = 0
    losses: list[tuple[float, float]] = field(default_factory=list)
    """Minutes and mean loss over the steps since the entry before."""


def rate_share(plan: Plan, progress: Progress) -> float:
    """Which share of the full rates to use: rises over the warm-up, falls linearly at the end."""
    left = 1.0 - progress.minutes / plan.minutes
    highest = plan.copying_rate if progress.minutes < plan.copying_minutes else 1.0
    return max(0.0, min(highest, (progress.step + 1) / plan.warm_steps, left / plan.cooling))


class Run:
    """One training run in a work folder, from the start or from its last checkpoint."""

    def __init__(
        self,
        plan: Plan,
        work: Path,
        tokenizer: Tokenizer,
        banned: set[tuple[str, ...]],
        weights: Path | None = None,
        resume: bool = False,
    ) -> None:
        torch.manual_seed(plan.seed)
        self.plan, self.work, self.tokenizer = plan, work, tokenizer
        self.model = Llama(replace(plan.shape, vocabulary=tokenizer.get_vocab_size()))
        if weights:
            load_weights(self.model, weights)
        else:
            lay_copying_circuit(self.model)
        self.model.to(plan.device)
        self.averaged = copy.deepcopy(self.model)
        self.optimizers = optimizers(self.model, plan.muon_rate, plan.adam_rate)
        self.rates = [optimizer.param_groups[0]["lr"] for optimizer in self.optimizers]
        self.progress = Progress()
        if resume:
            self._load()
        self.copying = drills(0.0)
        # A resumed run must not meet the same examples again, so its feed is seeded by how far it is.
        seed = plan.seed + 1_000_003 * self.progress.step
        self.stream = Stream(tokenizer, seed, plan.batch_tokens, banned, self.copying)

    def train(self) -> None:
        """Train until the time is up, then leave the final weights in the work folder."""
        recent = list[float]()
        saved = reported = self.progress.minutes
        self._set_copying()
        batches = self.stream.batches(self.plan.workers)
        while self.progress.minutes < self.plan.minutes:
            started = time.monotonic()
            self._set_copying()
            recent.append(self._step(next(batches).to(self.plan.device)))
            self.progress.minutes += (time.monotonic() - started) / 60
            if self.progress.minutes - reported >= self.plan.report_every_minutes:
                self._report(recent)
                recent.clear()
                reported = self.progress.minutes
            if self.progress.minutes - saved >= self.plan.save_every_minutes:
                self.save()
                saved = self.progress.minutes
        self.save()

    def _set_copying(self) -> None:
        self.copying.value = 0.7 if self.progress.minutes < self.plan.copying_minutes else 0.06

    def _step(self, batch: Batch) -> float:
        share = rate_share(self.plan, self.progress)
        for optimizer, rate in zip(self.optimizers, self.rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * share
            optimizer.zero_grad(set_to_none=True)
        # Position i predicts the token at i + 1.
        weights = batch.weights[:, 1:]
        wanted = weights > 0
        logits = self.model(batch.ids[:, :-1], wanted)
        losses = functional.cross_entropy(logits, batch.ids[:, 1:][wanted], reduction="none")
        loss = (losses * weights[wanted]).sum() / weights.sum()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self._average()
        self.progress.step += 1
        self.progress.tokens += batch.ids.numel()
        return loss.item()

    @torch.no_grad()
    def _average(self) -> None:
        """Let the averaged weights follow; over the first steps they forget their start sooner."""
        keep = min(self.plan.average, (self.progress.step + 1) / (self.progress.step + 10))
        for slow, quick in zip(self.averaged.parameters(), self.model.parameters(), strict=True):
            slow.lerp_(quick, 1 - keep)

    def _report(self, recent: list[float]) -> None:
        progress, loss = self.progress, sum(recent) / len(recent)
        progress.losses.append((progress.minutes, loss))
        speed = progress.tokens / (60 * progress.minutes)
        print(
            f"{progress.minutes:6.1f} of {self.plan.minutes:g} min, step {progress.step}, "
            f"loss {loss:.4f}, {speed:.0f} tokens/s",
            flush=True,
        )

    @torch.no_grad()
    def exact(self, examples: int = 60) -> dict[str, float]:
        """The share of fresh dialogues, per kind, that greedy decoding would write without a slip."""
        feed = Feed(self.tokenizer, self.progress.step + 77, self.plan.batch_tokens, set())
        right: dict[str, list[bool]] = {}
        for made in feed.batches():
            batch = made.to(self.plan.device)
            wanted = batch.weights[:, 1:] > 0
            slips = torch.zeros_like(wanted)
            slips[wanted] = self.averaged(batch.ids[:, :-1], wanted).argmax(-1) != batch.ids[:, 1:][wanted]
            for kind, slip in zip(batch.kinds, slips.any(dim=1).tolist(), strict=True):
                right.setdefault(kind, []).append(not slip)
            if sum(map(len, right.values())) >= examples:
                break
        return {kind: sum(hits) / len(hits) for kind, hits in sorted(right.items())}

    def save(self) -> None:
        """Write a checkpoint, the weights as they stand, and the log."""
        state = {
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "progress": vars(self.progress),
        }
        fresh = self.work / "checkpoint.new"
        torch.save(state, fresh)
        fresh.rename(self.work / "checkpoint.pt")
        export(self.averaged, self.tokenizer.get_vocab(), self.work)
        (self.work / "losses.json").write_text(json.dumps(self.progress.losses), encoding="utf-8")
        print(f"saved at step {self.progress.step}", flush=True)
        exact = self.exact()
        print("exact " + ", ".join(f"{kind} {share:.0%}" for kind, share in exact.items()), flush=True)

    def _load(self) -> None:
        state = torch.load(self.work / "checkpoint.pt", weights_only=True, map_location=self.plan.device)
        self.model.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.progress = Progress(**state["progress"])
