"""The alert rules as promtool reads and tests them, and what must stand beside each of them."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.prometheus import PROMTOOL, SHIPPED, require_prometheus, version

RUNBOOK = SHIPPED.parents[1] / "docs" / "runbook.md"
CASES = sorted((SHIPPED / "tests").glob("*.yml"))
_ALERT = re.compile(r'ALERTS\{alertname(=~?)"([^"]+)"')


@pytest.fixture(scope="module", autouse=True)
def _needs() -> None:
    require_prometheus()


def read(path: Path) -> Any:
    import yaml  # noqa: PLC0415  # not every machine has it

    return yaml.safe_load(path.read_text())


def alerts() -> dict[str, dict[str, Any]]:
    return {
        rule["alert"]: rule
        for group in read(SHIPPED / "alerts.yml")["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }


def promtool(*arguments: str | Path) -> None:
    done = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_the_configuration_and_its_rules(record_property: Callable[[str, object], None]) -> None:
    record_property("with", version())
    promtool("check", "config", SHIPPED / "prometheus.yml")
    promtool("check", "rules", SHIPPED / "alerts.yml")


def test_each_alert_fires_when_it_should_and_only_then() -> None:
    promtool("test", "rules", *CASES)


def test_each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    names = alerts()
    cases: Counter[tuple[str, bool]] = Counter()
    for path in CASES:
        for test in read(path)["tests"]:
            for case in test["promql_expr_test"]:
                found = _ALERT.search(case["expr"])
                assert found, case
                fires = bool(case["exp_samples"])
                # A regular expression says of many that they do not fire; that one fires is said by its name.
                told = [found[2]] if found[1] == "=" else [name for name in names if re.fullmatch(found[2], name)]
                assert set(told) <= set(names), case
                cases.update((name, fires) for name in told)
    assert [(name, fires) for name in names for fires in (True, False) if not cases[name, fires]] == []


def test_each_alert_says_how_bad_it_is_what_it_means_and_where_to_read_on() -> None:
    sections = re.findall(r"^### (\w+)$", RUNBOOK.read_text(), flags=re.MULTILINE)
    found = alerts()
    assert sections == list(found), "docs/runbook.md has a section for each alert, in the order of the rules"
    for name, rule in found.items():
        assert rule["labels"] in ({"severity": "critical"}, {"severity": "warning"}, {"severity": "info"}), name
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}, name
        assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{name.lower()}"


def test_each_section_of_the_runbook_says_what_it_means_where_to_look_and_what_to_do() -> None:
    for section in re.split(r"^### ", RUNBOOK.read_text(), flags=re.MULTILINE)[1:]:
        parts = re.findall(r"^\*\*(Means|Look|Do)\.\*\*\s", section, flags=re.MULTILINE)
        assert parts == ["Means", "Look", "Do"], section.splitlines()[0]
