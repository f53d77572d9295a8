"""``designkit refine --ask`` and ``--tell``: sequences to measure, batch after batch.

A loop of SEIKO (Uehara et al. 2024, arXiv 2402.16359) in which refinement takes the place of
fine-tuning: candidates are written by the prior, so that they stay feasible, and chosen where
the predicted value and its uncertainty are high, all of them different.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from designkit.errors import EXIT_OK, EXIT_SOME_ITEMS_FAILED, Interrupted, UsageError
from designkit.recipes._campaign_state import Campaign, StateFolder
from designkit.recipes._loaded import LoadedModels
from designkit.recipes._methods import named_method, resolve_method
from designkit.recipes._temperature import is_measured
from designkit.recipes.campaign_settings import CampaignSettings
from designkit.recipes.console import Console
from designkit.recipes.objective import model_loader
from designkit.recipes.options import OutputOptions, RunOptions
from designkit.recipes.runtime import choose_device, draw_seed, set_threads, stop_on_signals
from designkit.settings import Layer, merge

if TYPE_CHECKING:
    from designkit.algorithms.refinement.base import Refiner
    from designkit.io.designs import DesignWriter
    from designkit.recipes._campaign_batch import Batch
    from designkit.recipes._lineages import Inputs
    from designkit.recipes._refinement_job import Job

NO_MODEL = "no model to draw from: designkit refine --ask NUMBER --model MODEL --state DIR"


@dataclass(frozen=True)
class CampaignRequest:
    """What is asked of a campaign.

    Attributes:
        state: its folder.
        ask: how many sequences to measure next; None for none.
        tell: table of results; None for none.
        data: table of other measured sequences; None for none.
    """

    state: str | None
    ask: int | None = None
    tell: str | None = None
    data: str | None = None

    def check(self, output: OutputOptions) -> None:
        """Refuse what does not go together.

        Raises:
            UsageError: in one line.
        """
        if self.state is None:
            raise UsageError("a campaign is kept in a folder: add --state DIR")
        if self.ask is None and self.tell is None:
            raise UsageError("--state: say what to do with it: --ask NUMBER or --tell FILE")
        if output.resume:
            raise UsageError("--resume: a batch that was stopped is asked for again: leave it out")


def resolve_settings(given: Layer, before: Campaign | None) -> tuple[CampaignSettings, Refiner]:
    """Settings and refiner of a batch; what is not given is as it was in the first one.

    Raises:
        ConfigurationError: every problem.
        UsageError: a reward, or a method that does not suit.
    """
    merged = given if before is None else merge([Layer("campaign", before.settings), given])
    for key in ("num", "per_input"):
        if merged.data.get(key) is not None:
            flag = {"num": "-n"}.get(key, "--per-input")
            raise UsageError(f"{flag}: --ask says how many sequences there are")
    settings: CampaignSettings
    refiner: Refiner
    settings, refiner = resolve_method(
        merged, named_method(merged, "rerd"), CampaignSettings, "designkit.refiners", NO_MODEL
    )
    if settings.rewards:
        raise UsageError("--reward: a campaign raises what is measured; leave it out")
    if is_measured(refiner) or is_measured(refiner.inner()):
        raise UsageError("--alpha: give a number; there is no reward to measure it by")
    if refiner.needs_gradient:
        raise UsageError("this method needs a gradient, which an acquisition does not have")
    return settings, refiner


def run_campaign(options: RunOptions, output: OutputOptions, request: CampaignRequest) -> int:
    """The command: take results in, ask for more.

    Returns:
        Exit code: 0, or 5 when fewer sequences were found than asked for.

    Raises:
        InputError: tables that cannot be used, a damaged campaign.
        UsageError: settings of another campaign.
        Interrupted: stopped; the campaign is as it was.
    """
    request.check(output)
    assert request.state is not None
    folder, console = StateFolder(request.state), Console(options.quiet)
    given = options.configuration("refine")
    if not options.dry_run:
        set_threads(options.threads)
    with ExitStack() as stack:
        if not options.dry_run:
            stack.enter_context(folder.locked(create=request.tell is None))
        before = folder.read()
        if before is None and request.tell is not None:
            raise UsageError(f"--state {folder}: no campaign there; start one with --ask NUMBER")
        run = CampaignRun(options, output, request, folder, console)
        return run.start(given, before)


class CampaignRun:
    """One command on a campaign.

    Args:
        options: of the command.
        output: of the batch.
        request: what to do.
        folder: of the campaign.
        console: told what happens.
    """

    def __init__(
        self,
        options: RunOptions,
        output: OutputOptions,
        request: CampaignRequest,
        folder: StateFolder,
        console: Console,
    ):
        self._options, self._output, self._request = options, output, request
        self._folder, self._console = folder, console

    def start(self, given: Layer, before: Campaign | None) -> int:
        """Do what is asked; see ``run_campaign``."""
        settings, refiner = resolve_settings(given, before)
        from designkit.recipes._refinement_job import Job

        seed = self._options.seed
        if seed is None and before is not None:
            seed = before.seed
        job = Job(settings, refiner, draw_seed(seed))
        model = {"ref": job.stored.ref, "sha256": job.stored.sha256}
        lines = [] if before is None else [{"inputs": before.inputs}]
        inputs = job.inputs(lines)
        if before is None:
            name = settings.model if "/" in settings.model else job.stored.ref
            campaign = Campaign({**settings.kept, "model": name}, model, job.seed, asdict(inputs))
        else:
            campaign = before
            campaign.check_same(settings, model, job.seed)
        if self._options.dry_run:
            self._console.show(job.plan(inputs))
            return EXIT_OK
        writer = self._writer() if self._request.ask is not None else None
        is_new = self._take_in(campaign, job)
        if is_new:
            self._folder.write(campaign)
        return EXIT_OK if writer is None else self._ask(campaign, job, inputs, writer)

    def _writer(self) -> DesignWriter:
        from designkit.io.designs import DesignWriter

        output = self._output
        format = "csv" if output.target == "-" and output.format is None else output.format
        return DesignWriter(output.target, format=format, force=output.force, resumable=False)

    def _take_in(self, campaign: Campaign, job: Job) -> bool:
        """Add what was measured, and fit the predictor; whether there was anything."""
        from designkit.recipes._campaign_results import read_known, read_results

        request, settings = self._request, job.settings
        assert isinstance(settings, CampaignSettings)
        if request.tell is None and request.data is None:
            return False
        label = campaign.agreed_label(settings.label)
        if request.data is not None:
            alphabet = job.constraints.alphabet
            known = read_known(request.data, label, settings.column, alphabet)
            campaign.measured |= known
            self._console.say(f"{request.data}: {len(known)} measured sequences")
        if request.tell is not None:
            results = read_results(request.tell, label, settings.column, campaign)
            campaign.measured |= results.values
            self._console.say(results.describe(campaign.waiting))
        self._fit(campaign, job, settings)
        return True

    def _fit(self, campaign: Campaign, job: Job, settings: CampaignSettings) -> None:
        """Fit the predictor to all that is measured."""
        from designkit.recipes._campaign_predictor import FEWEST, fit_predictor

        count = len(campaign.measured)
        if count < FEWEST:
            self._console.say(
                f"{count} measured in all: too few for a predictor, which needs {FEWEST}"
            )
            return
        fitted = fit_predictor(
            campaign.measured,
            job.constraints.alphabet,
            job.lengths,
            {"name": str(settings.label), "unit": "", "direction": settings.direction},
            settings.ensemble,
            campaign.seed,
        )
        campaign.predictor = self._folder.save_predictor(fitted, count, settings.ensemble)
        self._console.say(
            f"predictor {campaign.predictor}: {fitted.architecture['name']}, "
            f"{settings.ensemble.members} members on {count} sequences; Spearman correlation of "
            f"sequences that members have not seen {fitted.spearman:.2f}"
        )

    def _ask(self, campaign: Campaign, job: Job, inputs: Inputs, writer: DesignWriter) -> int:
        """Find the next batch, write it, and remember it."""
        from designkit.io.provenance import write_text_atomic
        from designkit.recipes.record import RunRecord

        count, settings = self._request.ask, job.settings
        assert count is not None
        assert isinstance(settings, CampaignSettings)
        batch = self._found(campaign, job, inputs, count)
        record = RunRecord(
            writer.target,
            {
                "command": "refine --ask",
                "settings": settings.model_dump(mode="json"),
                "refiner": job.refiner.model_dump(mode="json"),
                "model": campaign.model,
                "seed": campaign.seed,
                "state": str(self._folder),
                "batch": campaign.batches + 1,
                "predictor": campaign.predictor,
            },
        )
        frame = batch.table(inputs.ids if inputs.roots[0] is not None else None)
        with writer:
            writer.write(frame)
            kept = self._folder.path / f"batch_{campaign.batches + 1}.csv"
            write_text_atomic(kept, frame.to_csv(index=False, float_format="%.6g"))
            self._folder.write(replace(campaign, asked=[*campaign.asked, *batch.asked]))
        found = len(batch.asked)
        record.finish(rows={"requested": count, "written": found})
        self._console.say(f"{count} sequences asked for = {found} written + {count - found} failed")
        return EXIT_OK if found == count else EXIT_SOME_ITEMS_FAILED

    def _found(self, campaign: Campaign, job: Job, inputs: Inputs, count: int) -> Batch:
        from designkit.recipes._campaign_batch import Search
        from designkit.recipes._campaign_diversity import varied
        from designkit.registry.build import load_predictor
        from designkit.registry.store import Registry

        settings = job.settings
        assert isinstance(settings, CampaignSettings)
        device = choose_device(self._options.device)
        model, models = job.model(device), LoadedModels(model_loader(device))
        predictor = None
        if campaign.predictor:
            ref = self._folder.predictor_ref(campaign.predictor)
            predictor = load_predictor(Registry().find(ref), device)
        self._console.say(self._title(campaign, job, count))
        with stop_on_signals(self._options.seconds) as stop:
            brief = job.brief(model, inputs, models, stop)
            search = Search(settings, job.refiner, model, brief, varied, stop)
            try:
                return search.batch(campaign, inputs.roots, predictor, count)
            except Interrupted as problem:
                raise Interrupted(
                    f"{stop.reason}: the campaign in {self._folder} is as it was; ask again"
                ) from problem

    def _title(self, campaign: Campaign, job: Job, count: int) -> str:
        settings = job.settings
        assert isinstance(settings, CampaignSettings)
        how = "no predictor yet: sequences that differ"
        if campaign.predictor:
            how = f"predictor {campaign.predictor}, acquisition {settings.acquisition}"
            if settings.acquisition == "ucb":
                how += f" of beta {settings.beta:g}"
        line = (
            f"batch {campaign.batches + 1}: {count} sequences of {job.stored.ref} by "
            f"{settings.method['name']}; {len(campaign.measured)} measured, "
            f"{campaign.waiting} still to come; {how}; seed {campaign.seed}"
        )
        return line
