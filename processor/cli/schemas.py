"""`schemas`: the Avro schemas of what goes in and comes out."""

from __future__ import annotations

import click

from processor.errors import ExitCode


@click.group(epilog="\b\nExample:\n  status-processor schemas show status_change\n")
def schemas() -> None:
    """List and show the Avro schemas."""


@schemas.command("list", epilog="\b\nExample:\n  status-processor schemas list\n")
def list_schemas() -> int:
    """List the schemas with the fingerprint that a value in single-object encoding begins with."""
    from processor.schemas import NAMES, load_schema, single_object_prefix  # noqa: PLC0415  # others start faster

    for name in NAMES:
        schema = load_schema(name)
        prefix = single_object_prefix(schema).hex()
        click.echo(f"{name:<20} {prefix}  {schema.get('namespace', '')}.{schema['name']}")
    return ExitCode.OK


@schemas.command(epilog="\b\nExample:\n  status-processor schemas show status_change > status_change.avsc\n")
@click.argument("name")
def show(name: str) -> int:
    """Print a schema."""
    from processor.schemas import NAMES, schema_text  # noqa: PLC0415  # others start faster

    if name not in NAMES:
        raise click.BadParameter(f"{name!r} is not one of {', '.join(NAMES)}", param_hint="NAME")
    click.echo(schema_text(name), nl=False)
    return ExitCode.OK
