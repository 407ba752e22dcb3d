"""`python -m processor` is the command line."""

from processor.cli import entry

entry()
