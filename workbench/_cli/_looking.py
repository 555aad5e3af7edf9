"""Commands that show what there is: models, devices, this machine, and the cache of traces."""

from __future__ import annotations

from typing import Annotated

import typer

from workbench._cli._app import app
from workbench._cli._options import AsJson
from workbench._cli._output import print_json, show, working


@app.command()
def models(as_json: AsJson = False) -> int:
    """List the models that can be planned for."""
    from workbench.views._catalogues import models_json, models_report

    print_json(models_json()) if as_json else show(models_report())
    return 0


@app.command()
def devices(as_json: AsJson = False) -> int:
    """List the cards, with their memory, dense rates and host link."""
    from workbench.views._catalogues import devices_json, devices_report

    print_json(devices_json()) if as_json else show(devices_report())
    return 0


@app.command()
def doctor(as_json: AsJson = False) -> int:
    """Show what is installed, what GPU is seen and where traces are kept."""
    from workbench.views._doctor import doctor_report, examine

    with working("looking", as_json):
        found = examine()
    print_json(found) if as_json else show(doctor_report(found))
    return 0


cache_app = typer.Typer(help="Show or clear the traces that are kept on disk.")
app.add_typer(cache_app, name="cache")


@cache_app.callback(invoke_without_command=True)
def cache(context: typer.Context) -> int:
    """Show or clear the traces that are kept on disk."""
    return cache_show() if context.invoked_subcommand is None else 0


@cache_app.command("show")
def cache_show(as_json: AsJson = False) -> int:
    """Show where traces are kept, how many and how large."""
    from workbench.views._cache import cache_json, cache_report

    print_json(cache_json()) if as_json else show(cache_report())
    return 0


@cache_app.command("clear")
def cache_clear(
    stale: Annotated[
        bool,
        typer.Option("--stale", help="Only what other library versions made, which is never read again."),
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Delete the traces; what is needed is traced again."""
    from workbench._store import Store
    from workbench._units import format_gib

    store = Store()
    number, num_bytes = store.clear(only_stale=stale)
    if as_json:
        print_json({"folder": str(store.folder), "deleted": number, "deleted_bytes": num_bytes})
    else:
        print(
            f"deleted {number} {'entry' if number == 1 else 'entries'} ({format_gib(num_bytes)}) in {store.folder}"
        )
    return 0
