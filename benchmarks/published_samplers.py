"""designkit's samplers beside those of SVDD (Li et al. 2024, https://github.com/masa-ue/SVDD).

The published ones are imported unmodified. Their ``Diffusion`` module and its convolutional network
get the weights of a designkit denoiser, so that both sides compute the same function.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from reporting import Measurements, markdown_table
from timing import Clock, draw
from torch import Tensor, nn

from designkit.alphabet import DNA
from designkit.diffusion.masked import Masked
from designkit.models._cnn_net import CNNDenoiserNet
from designkit.models.base import DiffusionModel, LengthLaw, one_hot
from designkit.models.cnn import CNNDenoiser
from designkit.recipes.training import build_seeded
from designkit.rewards import RewardEngine, WeightedReward, reward

LENGTH, CANDIDATES = 200, 10
TEMPERATURE = 0.5
SAMPLERS = ("ancestral", "svdd", "smc")
PUBLISHED, FP32, BF16 = "published fp32", "designkit fp32", "designkit bf16"

# Imported by its modules, not used in sampling: reward models, experiment tracking, a scheduler.
_UNUSED = {"oracle": (), "timm": (), "timm.scheduler": ("CosineLRScheduler",)}


class SmallNetwork(nn.Module):
    """A stand-in for a reward model: two convolutions, a mean."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(4, 64, 15, padding=7), nn.ReLU(), nn.Conv1d(64, 64, 3, padding=1), nn.ReLU()
        )
        self.head = nn.Linear(64, 1)

    @torch.no_grad()
    def forward(self, one_hots: Tensor) -> Tensor:
        """(B, L, 4) to (B,)."""
        found: Tensor = self.head(self.body(one_hots.transpose(1, 2)).mean(2)).squeeze(1)
        return found


class NetworkObjective:
    """The stand-in as designkit's samplers see a reward: each distinct sequence scored once."""

    def __init__(self, network: SmallNetwork):
        self.network = network
        self.rows = 0

        @reward(alphabet="dna", unit="none")
        def stand_in(sequences: list[str]) -> list[float]:
            self.rows += len(sequences)
            tokens = torch.from_numpy(DNA.encode(sequences))
            scores: list[float] = self.network(one_hot(tokens, DNA.size)).tolist()
            return scores

        self.engine = RewardEngine([WeightedReward(stand_in())], alphabet=DNA)


def comparable(network: CNNDenoiserNet) -> CNNDenoiserNet:
    """The network without what the published one has not: a normalisation before its head.

    Its last letter is the likeliest: the published posterior mean fails where none guesses that.
    """
    network.norm = nn.Identity()  # type: ignore[assignment]
    with torch.no_grad():
        network.head.bias[-1] += 1
    return network


class PublishedSampler:
    """SVDD's samplers around a network of given weights.

    Args:
        checkout: of its repository.
        network: of any kind, or a ``comparable`` denoiser with the sizes of its configuration.
        steps: of the time grid.
        length: of the designs.
        copied: whether the published network gets the weights; otherwise ``network`` itself takes
            its place.
    """

    def __init__(
        self, checkout: Path, network: nn.Module, steps: int, length: int, *, copied: bool
    ):
        warnings.simplefilter("ignore")
        sys.path.insert(0, str(checkout))
        for name, members in _UNUSED.items():
            module = types.ModuleType(name)
            for member in members:
                setattr(module, member, type(member, (), {}))
            sys.modules[name] = module
        from hydra import compose, initialize_config_dir
        from omegaconf import OmegaConf

        for name in ("cwd", "device_count", "eval", "div_up", "uuid"):
            OmegaConf.register_new_resolver(name, lambda *_: 1, replace=True)
        with initialize_config_dir(str(checkout / "configs_gosai"), version_base=None):
            config = compose("config_gosai", [f"sampling.steps={steps}", f"model.length={length}"])
        self.module: Any = importlib.import_module("diffusion_gosai").Diffusion(config).eval()
        self.rows = 0
        if copied:
            _copy_weights(network, self.module.backbone)
        else:
            self.module.backbone = WithMask(network)
        self.module.backbone.register_forward_pre_hook(self._count)

    def _count(self, _: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        self.rows += len(arguments[0])

    def logits(self, tokens: Tensor) -> Tensor:
        """(B, L) tokens to (B, L, letters and mask), time ignored as it does."""
        with torch.no_grad():
            found: Tensor = self.module.backbone(tokens, torch.zeros(len(tokens)))
        return found

    def ancestral(self, batch: int) -> None:
        """``decode_sample``: the time grid."""
        self.module.decode_sample(eval_sp_size=batch)

    def svdd(self, batch: int, candidates: int, reward: Callable[[Tensor], Tensor]) -> Tensor:
        """``controlled_sample_tweedie``: posterior means, the best of the candidates."""
        found: Tensor = self.module.controlled_sample_tweedie(
            _answering(reward), eval_sp_size=batch, sample_M=candidates, options="True"
        )
        return found

    def smc(self, batch: int, temperature: float, reward: Callable[[Tensor], Tensor]) -> None:
        """``controlled_sample_TDS``: one child a state, resampled in every step."""
        self.module.controlled_sample_TDS(_answering(reward), temperature, eval_sp_size=batch)


class WithMask(nn.Module):
    """A designkit denoiser as the published sampler calls its network.

    Args:
        network: logits of letters from one-hots.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    @torch.no_grad()
    def forward(self, tokens: Tensor, sigma: Tensor) -> Tensor:
        """(B, L) tokens to (B, L, letters and mask)."""
        logits = self.network(one_hot(tokens, DNA.size + 1), torch.zeros(len(tokens)))
        return torch.cat([logits, torch.zeros_like(logits[..., :1])], dim=-1)


def _answering(reward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """(B, L, K) to (B,) as the (B, K, L) to (B, 1, 1) that is expected there."""
    return lambda x: reward(x.transpose(1, 2))[:, None, None]


@torch.no_grad()
def _copy_weights(network: CNNDenoiserNet, published: Any) -> None:
    """What the published network adds of the time is constant, as it is given none: 0."""

    def copy(target: nn.Module, weight: Tensor, bias: Tensor) -> None:
        target.weight[: len(weight)].copy_(weight.view(-1, *target.weight.shape[1:]))
        target.bias[: len(bias)].copy_(bias)

    copy(published.linear, network.stem.weight, network.stem.bias)
    for layer, conv, norm, time in zip(
        network.layers, published.convs, published.norms, published.time_layers, strict=True
    ):
        copy(conv, layer.conv.weight, layer.conv.bias)
        copy(norm, layer.norm.weight, layer.norm.bias)
        time.dense.weight.zero_()
        time.dense.bias.zero_()
    copy(published.final_conv[0], network.hidden.weight, network.hidden.bias)
    copy(published.final_conv[2], network.head.weight, network.head.bias)


def measure_published(done: Measurements, options: argparse.Namespace) -> None:
    """Both sides in turns, the same weights in both networks."""
    process = Masked(size=DNA.size)
    network = build_seeded(lambda: CNNDenoiser().build(process.states, process.size), 0)
    network = comparable(network.eval().requires_grad_(False))  # type: ignore[arg-type]
    stand_in = build_seeded(SmallNetwork, 1).eval()
    published = PublishedSampler(
        options.peer.resolve(), network, options.published_steps, LENGTH, copied=True
    )
    x = torch.randint(process.states, (4, LENGTH), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = network(one_hot(x, process.states), torch.zeros(len(x)))
    torch.testing.assert_close(published.logits(x)[..., : DNA.size], expected, atol=1e-4, rtol=1e-4)
    theirs: dict[str, Callable[[int], None]] = {
        "ancestral": published.ancestral,
        "svdd": lambda batch: published.svdd(batch, CANDIDATES, stand_in),
        "smc": lambda batch: published.smc(batch, TEMPERATURE, stand_in),
    }
    own_guess = {"name": "posterior_mean", "guess": "own"}
    settings: dict[str, dict[str, Any]] = {
        "ancestral": {},
        "svdd": {"candidates": CANDIDATES, "temperature": 0, "value": own_guess},
        "smc": {"temperature": TEMPERATURE, "threshold": 1},
    }
    law = LengthLaw({LENGTH: 1})
    models = {
        FP32: DiffusionModel(network, process, DNA, law),
        BF16: DiffusionModel(network, process, DNA, law, precision="bf16"),
    }

    def own(side: str, method: str, batch: int) -> int:
        model = models[side]
        model.counter.rows = 0
        objective = NetworkObjective(stand_in)
        fields = settings[method] | ({"particles": batch} if method == "smc" else {})
        draw(
            model, method, objective.engine, batch,
            steps=options.published_steps, decoding="grid", **fields,
        )  # fmt: skip
        return model.counter.rows

    def their(method: str, batch: int) -> int:
        published.rows = 0
        theirs[method](batch)
        return published.rows

    sides = [(PUBLISHED, batch) for batch in options.published_batch]
    sides += [(side, batch) for batch in options.own_batch for side in (FP32, BF16)]
    for number in range(options.rounds):
        for method in options.published:
            for side, batch in sides:
                if done.has(method, side, batch, number):
                    continue
                clock = Clock()
                rows = their(method, batch) if side == PUBLISHED else own(side, method, batch)
                seconds = clock.seconds / batch
                done.add(
                    method=method, side=side, batch=batch, round=number,
                    seconds=seconds, denoiser_rows=rows / batch,
                )  # fmt: skip
                print(method, side, batch, f"{seconds:.3f} s a design", flush=True)


def report_published(done: Measurements, options: argparse.Namespace) -> str:
    """Seconds a design, and ratios to the published sampler of the same round."""
    rows = []
    sides = [(PUBLISHED, batch) for batch in options.published_batch]
    sides += [(side, batch) for side in (FP32, BF16) for batch in options.own_batch]
    for method in SAMPLERS:
        found = {
            (side, batch): done.select("seconds", method=method, side=side, batch=batch)
            for side, batch in sides
        }
        found = {key: seconds for key, seconds in found.items() if seconds}
        theirs = [seconds for (side, _), seconds in found.items() if side == PUBLISHED]
        if not theirs:
            continue
        baseline = min(theirs, key=statistics.median)
        for (side, batch), seconds in found.items():
            ratios = sorted(a / b for a, b in zip(baseline, seconds, strict=False))
            own = {"method": method, "side": side, "batch": batch}
            rows.append(
                {
                    "sampler": method,
                    "side": side,
                    "batch": str(batch),
                    "seconds a design": f"{statistics.median(seconds):.3f}",
                    "denoiser rows": f"{done.select('denoiser_rows', **own)[0]:.0f}",
                    "faster than published": f"{statistics.median(ratios):.2f} "
                    f"({ratios[0]:.2f}-{ratios[-1]:.2f})",
                }
            )
    if not rows:
        return ""
    return (
        f"\n## Beside the published samplers\n\n{markdown_table(rows)}\n"
        "Default `cnn` denoiser (20 layers, 128 channels, 9 taps) with the same random weights on "
        f"both sides, {LENGTH} letters, {options.published_steps} steps of the time grid, "
        f"{CANDIDATES} candidates valued by their own guesses, a small convolutional reward. "
        "Ratios are to the published sampler at the batch that suits it best. "
        "svdd is `controlled_sample_tweedie`; smc is `controlled_sample_TDS`, which twists "
        "nothing.\n"
    )
