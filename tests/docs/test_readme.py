"""The README's table of settings is the code's."""

from __future__ import annotations

import re

from routiium_client.cli.service import INGEST_VARIABLE, QUERY_VARIABLE, TOKEN_VARIABLE
from shared.settings import PREFIX, Settings, variable_of
from tests.harness import ROOT

README = (ROOT / "README.md").read_text()


def settings_table() -> str:
    """The table as the code would write it."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = field.default
        if isinstance(default, bool):
            default = str(default).lower()
        shown = f"`{default}`" if default not in (None, "", frozenset()) else ""
        rows.append(f"| `{variable_of(name)}` | {shown} | {field.description} |")
    return "\n".join(rows)


def test_every_setting_is_in_the_readme_with_its_default_and_meaning() -> None:
    found = re.search(r"<!-- settings -->\n(.*?)\n?<!-- /settings -->", README, re.DOTALL)

    assert found is not None
    assert found[1] == settings_table(), "write this table into README.md:\n" + settings_table()


def test_the_readme_names_no_setting_that_does_not_exist() -> None:
    known = {variable_of(name) for name in Settings.model_fields}
    known |= {INGEST_VARIABLE, QUERY_VARIABLE, TOKEN_VARIABLE}

    for document in ("README.md", ".env.example"):
        named = set(re.findall(PREFIX + r"[A-Z_]+", (ROOT / document).read_text()))
        assert named <= known
