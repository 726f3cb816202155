"""The command line: parse, call, print. Heavy imports happen inside the commands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lossforge.errors import InterruptedSearchError, LossforgeError, SpaceError, offered
from lossforge.standard_output import kept_clean, to_standard_error

app = typer.Typer(
    name="lossforge",
    help="Evolve loss functions, resume the search, and export what it discovered.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, such as runs/digits-20260101-120000.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
WorkersOption = Annotated[int | None, typer.Option(help="Worker processes; 1 runs in this process, 0 is one a core.")]
DeviceOption = Annotated[str | None, typer.Option(help="auto, cpu or cuda.")]
ExecutorOption = Annotated[str | None, typer.Option(help="local or ray.")]
AddressOption = Annotated[
    str | None, typer.Option(help="A running Ray cluster: auto or HOST:PORT; default: a Ray of its own.")
]
GpusOption = Annotated[float | None, typer.Option(help="GPUs a worker on Ray takes: 1, a fraction, or 0.")]
CpusOption = Annotated[float | None, typer.Option(help="CPUs a worker on Ray takes.")]
DataDirOption = Annotated[
    str | None, typer.Option(help="Where known data sets lie or are downloaded to; default: LOSSFORGE_DATA.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key; KEY=null unsets it."),
]
PlanSetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the plan; KEY=null unsets it."),
]


DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Print cost and plan; train next to nothing, write nothing.")
]


@app.command()
def search(
    space: Annotated[Path, typer.Argument(metavar="SPACE", help="A TOML file, or a shipped space's name: digits.")],
    run: Annotated[Path | None, typer.Option(help="The new run's folder; default runs/NAME-TIME.")] = None,
    seed: Annotated[int | None, typer.Option(help="The run's seed; default: the space's.")] = None,
    seed_from: Annotated[
        list[str] | None,
        typer.Option(metavar="RUN|LOSS", help="Start from another run, a known loss's name, or a formula; repeatable."),
    ] = None,
    executor: ExecutorOption = None,
    workers: WorkersOption = None,
    device: DeviceOption = None,
    address: AddressOption = None,
    gpus_per_worker: GpusOption = None,
    cpus_per_worker: CpusOption = None,
    data_dir: DataDirOption = None,
    overrides: SetOption = None,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Search a space, then re-validate the best losses beside tuned rivals."""
    from lossforge import api
    from lossforge.console import print_plan, print_run, progress

    if dry_run:
        from lossforge.starting.dry_run import plan_of_search

        with kept_clean():
            lines = plan_of_search(
                space,
                seed=seed,
                overrides=overrides or (),
                executor=executor,
                workers=workers,
                device=device,
                address=address,
                gpus_per_worker=gpus_per_worker,
                cpus_per_worker=cpus_per_worker,
                data_dir=data_dir,
            )
        print_plan(lines, json)
        return
    with progress() as shown:
        result = api.search(
            space,
            run=run,
            overrides=overrides or (),
            progress=shown,
            seed=seed,
            seed_from=seed_from or (),
            executor=executor,
            workers=workers,
            device=device,
            address=address,
            gpus_per_worker=gpus_per_worker,
            cpus_per_worker=cpus_per_worker,
            data_dir=data_dir,
        )
    print_run(result, json)


@app.command()
def new(
    space: Annotated[Path, typer.Argument(metavar="SPACE", help="The TOML file to write.")],
    data: Annotated[
        str, typer.Option(metavar="DATA", help="A folder of images, a .csv or .npz, masks; or a known set's name.")
    ],
    time: Annotated[str, typer.Option(help="How long the search may take: 30m, 2h, 90s.")] = "30m",
    network: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Try this network alone; give it again for another one.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Ask nothing, on a terminal too: decide, and say what.")
    ] = False,
    workers: WorkersOption = None,
    device: DeviceOption = None,
    data_dir: DataDirOption = None,
    overrides: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Write a search space for your data: look at them, try networks and learning rates here, fit the time."""
    from lossforge.console import print_new
    from lossforge.starting.asking import Asking
    from lossforge.starting.new import new_space

    def ask(question: str, proposed: str) -> str:
        return str(typer.prompt(question, default=proposed, err=True))

    somebody = sys.stdin.isatty() and sys.stderr.isatty() and not yes
    asking = Asking(ask if somebody else None, lambda told: typer.echo(told, err=True))
    with kept_clean():
        written = new_space(
            space,
            data,
            time=time,
            networks=network or (),
            overrides=overrides or (),
            asking=asking,
            workers=workers,
            device=device,
            data_dir=data_dir,
        )
    print_new(written, json)


@app.command()
def schema(
    plan: Annotated[bool, typer.Option("--plan", help="Of plans; default: of search spaces.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it there.")] = None,
) -> None:
    """The JSON schema of spaces, or plans, by which editors complete and check TOML."""
    from lossforge.spaces.json_schema import schema_text
    from lossforge.store.files import write_atomically

    text = schema_text("plan" if plan else "space")
    if output is None:
        typer.echo(text, nl=False)
    else:
        write_atomically(output, text)
        typer.echo(output)


@app.command()
def resume(
    run: RunArgument,
    executor: ExecutorOption = None,
    workers: WorkersOption = None,
    device: DeviceOption = None,
    address: AddressOption = None,
    gpus_per_worker: GpusOption = None,
    cpus_per_worker: CpusOption = None,
    data_dir: DataDirOption = None,
    overrides: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Go on with a search where it stopped; nothing that was trained is trained again."""
    from lossforge import api
    from lossforge.console import print_run, progress

    with progress() as shown:
        result = api.resume(
            run,
            overrides=overrides or (),
            progress=shown,
            executor=executor,
            workers=workers,
            device=device,
            address=address,
            gpus_per_worker=gpus_per_worker,
            cpus_per_worker=cpus_per_worker,
            data_dir=data_dir,
        )
    print_run(result, json)


@app.command()
def status(run: RunArgument, json: JsonOption = False) -> None:
    """How far a run is, and what became of its candidates."""
    from dataclasses import asdict

    from lossforge.console import print_facts
    from lossforge.inspection.runs import run_status

    print_facts(asdict(run_status(run)), json)


@app.command()
def top(
    run: RunArgument,
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="How many losses.")] = 10,
    every: Annotated[bool, typer.Option("--all", help="Under each loss those that are like it.")] = False,
    json: JsonOption = False,
) -> None:
    """The best losses of a run, by their gain over cross-entropy in the search; of those that are alike the best."""
    from lossforge.console import print_hall_of_fame
    from lossforge.inspection.runs import leader_seeds, run_relatives, run_top, run_verdicts

    relatives = run_relatives(run) if every else None
    sparks: dict[str, str] = {}
    if sys.stdout.isatty() and not json:
        from lossforge.report.sparkline import can_be_shown, gains_by_seed

        sparks = gains_by_seed(run) if can_be_shown() else {}
    print_hall_of_fame(run_top(run, number), json, leader_seeds(run), run_verdicts(run), relatives, sparks)


@app.command(context_settings={"ignore_unknown_options": True})
def show(
    losses: Annotated[list[str], typer.Argument(metavar="LOSS...", help="Names from the library, or formulas.")],
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw value and gradient: FILE.png, .svg or .pdf.")
    ] = None,
    head: Annotated[
        str | None, typer.Option(metavar="HEAD", help="Behind softmax, sigmoid or binary; default: the loss's own.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Explain losses: formula, derivative, minimiser, relatives, and which screens they pass."""
    from lossforge.console import print_losses
    from lossforge.inspection.losses import explain_all
    from lossforge.screening.descent import kernels_are_compiled

    if plot is not None:
        from lossforge.report.loss_plot import plot_losses

        plot_losses(losses, plot)
    if not kernels_are_compiled():
        typer.echo("compiling the screens for this machine: half a minute, once", err=True)
    with kept_clean():
        found = explain_all(losses, head=head)
    print_losses(found, json)


@app.command()
def validate(
    run: RunArgument,
    top: Annotated[int | None, typer.Option(min=1, help="How many of the best losses; default: the space's.")] = None,
    seeds: Annotated[int | None, typer.Option(min=2, help="Fresh seeds for each loss; default: the space's.")] = None,
    rivals: Annotated[
        list[str] | None, typer.Option(metavar="NAME,NAME", help="Further rivals, beside the space's; formulas too.")
    ] = None,
    plan: Annotated[
        str | None, typer.Option(metavar="PLAN", help="Go by a plan: transfer, another shipped one's name, or a file.")
    ] = None,
    overrides: PlanSetOption = None,
    executor: ExecutorOption = None,
    workers: WorkersOption = None,
    device: DeviceOption = None,
    address: AddressOption = None,
    gpus_per_worker: GpusOption = None,
    cpus_per_worker: CpusOption = None,
    data_dir: DataDirOption = None,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Train the best losses again beside tuned rivals, with fresh seeds, and score them on the test part."""
    from lossforge import api
    from lossforge.console import print_plan, print_validation, progress

    if dry_run:
        from lossforge.starting.dry_run import plan_of_validation

        with kept_clean():
            lines = plan_of_validation(
                run,
                top=top,
                seeds=seeds,
                plan=plan,
                overrides=overrides or (),
                executor=executor,
                workers=workers,
                device=device,
                address=address,
                gpus_per_worker=gpus_per_worker,
                cpus_per_worker=cpus_per_worker,
                data_dir=data_dir,
            )
        print_plan(lines, json)
        return
    if plan is not None:
        from lossforge.comparing import validate_by_plan

        if rivals:
            raise typer.BadParameter("--rivals: a plan names its rivals; write --set 'rivals.named=[...]'")
        with progress() as shown:
            rows = validate_by_plan(
                run,
                plan,
                top=top,
                seeds=seeds,
                overrides=overrides or (),
                progress=shown,
                executor=executor,
                workers=workers,
                device=device,
                address=address,
                gpus_per_worker=gpus_per_worker,
                cpus_per_worker=cpus_per_worker,
                data_dir=data_dir,
            )
        print_validation(rows, json)
        return
    if overrides:
        raise typer.BadParameter("--set: changes keys of a plan; give one with --plan")
    with progress() as shown:
        rows = api.validate(
            run,
            top=top,
            seeds=seeds,
            rivals=rivals or (),
            progress=shown,
            executor=executor,
            workers=workers,
            device=device,
            address=address,
            gpus_per_worker=gpus_per_worker,
            cpus_per_worker=cpus_per_worker,
            data_dir=data_dir,
        )
    print_validation(rows, json)


@app.command(context_settings={"ignore_unknown_options": True})
def compare(
    losses: Annotated[
        list[str] | None, typer.Argument(metavar="[LOSS...]", help="Names from the library, or formulas.")
    ] = None,
    space: Annotated[
        str | None, typer.Option(metavar="SPACE", help="In the tasks of this space; default: digits.")
    ] = None,
    plan: Annotated[
        str | None, typer.Option(metavar="PLAN", help="In the studies of this plan: a file, or a shipped one's name.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=2, help="Most seeds of each loss; default: the plan's.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Where all is kept, and goes on after a stop.")
    ] = None,
    executor: ExecutorOption = None,
    workers: WorkersOption = None,
    device: DeviceOption = None,
    address: AddressOption = None,
    gpus_per_worker: GpusOption = None,
    cpus_per_worker: CpusOption = None,
    data_dir: DataDirOption = None,
    overrides: SetOption = None,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Compare losses with rivals that are tuned alike, on test data with fresh seeds; or runs, by their folders."""
    from lossforge import comparing
    from lossforge.console import print_plan, print_rows, print_validation, progress

    if comparing.are_runs(losses or ()):
        from lossforge.report.run_comparison import compare_runs

        print_rows(compare_runs([Path(one) for one in losses or ()]), json)
        return

    if dry_run:
        from lossforge.starting.dry_run import plan_of_compare

        with kept_clean():
            lines = plan_of_compare(
                losses or (),
                space=space,
                plan=plan,
                seeds=seeds,
                overrides=overrides or (),
                executor=executor,
                workers=workers,
                device=device,
                address=address,
                gpus_per_worker=gpus_per_worker,
                cpus_per_worker=cpus_per_worker,
                data_dir=data_dir,
            )
        print_plan(lines, json)
        return
    with progress() as shown:
        rows = comparing.compare(
            losses or (),
            space=space,
            plan=plan,
            seeds=seeds,
            output=output,
            overrides=overrides or (),
            progress=shown,
            executor=executor,
            workers=workers,
            device=device,
            address=address,
            gpus_per_worker=gpus_per_worker,
            cpus_per_worker=cpus_per_worker,
            data_dir=data_dir,
        )
    print_validation(rows, json)


@app.command()
def export(
    run: RunArgument,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file; default RUN/export/losses.py.")
    ] = None,
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="How many of the best losses.")] = 5,
    format: Annotated[
        str | None, typer.Option("--format", "-f", help="torch (the default), numpy, jax, keras, latex or onnx.")
    ] = None,
    package: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Instead: a package that pip installs, with tests and model cards."),
    ] = None,
    bib: Annotated[bool, typer.Option("--bib", help="Instead: BibTeX of the losses and of what they met.")] = False,
) -> None:
    """Write the best losses as one stand-alone file: a Python module that needs torch alone, or another format."""
    from lossforge.export.formats import FORMATS

    if sum((format is not None, package is not None, bib)) > 1:
        raise typer.BadParameter("give one of --format, --package and --bib")
    if format is not None and format not in FORMATS:
        raise typer.BadParameter(f"--format: '{format}' is none of {', '.join(FORMATS)}")
    if package is not None:
        from lossforge.export.package import export_package

        written = export_package(run, package, output, number)
    elif bib:
        from lossforge.export.references import export_references

        written = export_references(run, output, number)
    else:
        from lossforge.export.run_export import export_run

        written = export_run(run, output, number, format or "torch")
    typer.echo(written)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, or of a comparison.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="The page; default RUN/report.html.")
    ] = None,
    plots: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write every picture there too, as SVG and PNG.")
    ] = None,
    tensorboard: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write files for TensorBoard there too.")
    ] = None,
) -> None:
    """Write one page of all that is known of a run or a comparison: verdict, best losses, pictures, the command."""
    from lossforge.report.report_file import write_report

    with kept_clean():
        written = [write_report(run, output)]
        if plots is not None:
            from lossforge.report.plots import write_plots

            written += write_plots(run, plots)
        if tensorboard is not None:
            from lossforge.report.tensorboard import write_tensorboard

            written.append(write_tensorboard(run, tensorboard))
    for path in written:
        typer.echo(path)


@app.command()
def watch(
    run: RunArgument,
    every: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="How often to look.")] = 5.0,
) -> None:
    """Follow a run that another process or machine works on, until its search is done; only reads."""
    from lossforge.report.watch import watch as follow

    follow(run, typer.echo, every=every)


@app.command()
def tables(
    run: RunArgument,
    latex: Annotated[bool, typer.Option("--latex", help="Print LaTeX, for the package booktabs.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print one CSV, with confusion matrices.")] = False,
    json: JsonOption = False,
    shares: Annotated[
        bool, typer.Option("--shares", help="Instead: each loss's share of the gradient, epoch by epoch.")
    ] = False,
) -> None:
    """Tables of a run of sums of losses, n-gram by n-gram: accuracy, precision, recall, F1, IoU, with intervals."""
    from lossforge.console import print_fusion_tables, print_term_shares
    from lossforge.report.fusion_tables import as_csv, as_latex, fusion_tables
    from lossforge.report.term_shares import shares_as_csv, term_shares

    if latex + csv + json > 1:
        raise typer.BadParameter("give one of --latex, --csv and --json")
    if shares:
        if latex:
            raise typer.BadParameter("--shares is printed as text, --csv or --json")
        told = term_shares(run)
        if csv:
            typer.echo(shares_as_csv(told), nl=False)
        else:
            print_term_shares(told, json)
        return
    found = fusion_tables(run)
    if latex or csv:
        typer.echo((as_latex if latex else as_csv)(found), nl=False)
    else:
        print_fusion_tables(found, json)


@app.command()
def explain(
    words: Annotated[list[str] | None, typer.Argument(metavar="WORD", help="A word of the output; none: all.")] = None,
    json: JsonOption = False,
) -> None:
    """What a word of the output means, such as static, probe, duplicate, audit or signature."""
    from lossforge.console import print_facts
    from lossforge.glossary import OUTPUT, SOURCE, explained

    print_facts(dict([explained(" ".join(words))]) if words else {**OUTPUT, **SOURCE}, json)


@app.command("list")
def list_(
    what: Annotated[
        str, typer.Argument(metavar="WHAT", help="losses, primitives, datasets, models, activations, spaces or plans.")
    ],
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[WORD...]", help="Only what has these words, such as 'noise'.")
    ] = None,
    from_: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="Losses of a hall-of-fame file, or a run, not the library's."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """What there is to choose from."""
    from lossforge.console import print_library, print_rows
    from lossforge.inspection.listings import LISTS, listing, matching

    if what not in LISTS:
        raise typer.BadParameter(f"there is no list of '{what}'{offered(what, LISTS)}")
    if from_ is not None:
        from lossforge.inspection.listings import losses_of_file

        if what != "losses":
            raise typer.BadParameter("--from: is for lists of losses")
        print_rows(matching(losses_of_file(from_), words or [], what), json)
        return
    rows = matching(listing(what), words or [], what)
    if what == "losses":
        print_library(rows, json)
    else:
        print_rows(rows, json)


@app.command()
def doctor(
    data: Annotated[str | None, typer.Option(metavar="NAME", help="Examine this data set instead.")] = None,
    resize: Annotated[int | None, typer.Option(min=1, help="Side of its images, where they differ in size.")] = None,
    network: Annotated[
        str | None, typer.Option(metavar="NAME", help="Tell how this network is run, on --data or its usual size.")
    ] = None,
    executor: Annotated[str | None, typer.Option(help="ray: check a Ray, on this machine or at --address.")] = None,
    address: AddressOption = None,
    gpus_per_worker: GpusOption = None,
    data_dir: DataDirOption = None,
    set_: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Check this machine: versions, cores, memory, disk, GPU, a worker; or a data set, a network, or a Ray."""
    from lossforge.console import print_rows
    from lossforge.inspection.doctor import examine, examine_data

    if executor not in (None, "local", "ray"):
        raise typer.BadParameter(f"--executor: '{executor}' is none of local, ray")
    with kept_clean():
        if executor == "ray":
            from lossforge.inspection.ray_doctor import examine_ray

            checks = examine_ray(address or "", gpus_per_worker, data or "digits", resize, data_dir or "")
        elif network is not None:
            from lossforge.inspection.network_doctor import examine_network

            checks = examine_network(network, data or "", data_dir or "", resize, set_)
        else:
            checks = examine() if data is None else examine_data(data, data_dir or "", resize, set_)
    print_rows(checks, json)
    if any(check["state"] == "bad" for check in checks):
        raise typer.Exit(1)


def version_option(asked: bool) -> None:
    """Print the version and leave."""
    if asked:
        from lossforge import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=version_option, is_eager=True)] = False,
) -> None:
    """Evolve loss functions, resume the search, and export what it discovered."""


def main() -> None:
    """Entry point: 0 done, 1 the run or the file is at fault, 2 usage, 130 stopped."""
    try:
        try:
            app()
        finally:
            to_standard_error()  # what is printed at exit is no result
    except InterruptedSearchError as error:
        _leave(str(error), 130)
    except SpaceError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201  # a line for each fault
        sys.exit(1)
    except LossforgeError as error:
        _leave(f"error: {error}", 1)
    except OSError as error:
        _leave(f"error: {error.filename or 'the system'}: {error.strerror or error}", 1)
    except KeyboardInterrupt:
        _leave("stopped at once; what was recorded is kept", 130)


def _leave(message: str, code: int) -> None:
    print(" ".join(message.split()), file=sys.stderr)  # noqa: T201
    sys.exit(code)
