"""What the documentation promises is there: commands, targets, files."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from markdown_it import MarkdownIt

from ohmykube.cache import set_file
from ohmykube.cli.help import MEANING
from ohmykube.config import document, load
from ohmykube.config.load import Overrides
from ohmykube.kit import paths, process
from ohmykube.model.machine import MachineSpec, SshTarget
from ohmykube.providers import ssh_config
from ohmykube.providers.lima import lima_yaml
from ohmykube.state import layout
from ohmykube.state.record import Record
from ohmykube.state.store import StateStore
from ohmykube.steps import run_playbook
from tests import lima_world

if TYPE_CHECKING:
    from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[2]
SKIP = {".venv", "roles", ".pytest_cache", "node_modules"}
PAGES = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not SKIP & set(path.relative_to(ROOT).parts[:1]) and "ansible_collections" not in path.parts
)
ROLE_PAGES = sorted(ROOT.glob("roles/*/README.md"))
HEARD = {"text", "code_inline"}
"""What of a heading's parts GitHub makes its anchor of."""
OWN_PROGRAMS = re.compile(r"(?:^|[\s;&|(])(?:\S*/)?ohmykube((?:\s+[a-z][a-z-]*){0,2})")


def blocks(text: str) -> list[str]:
    """Return the lines of the code blocks, prompts and comments removed, continuations joined."""
    found = re.findall(r"^ *```(?:console|sh|bash|shell)\n(.*?)^ *```", text, re.M | re.S)
    lines = "\n".join(found).replace("\\\n", " ").splitlines()
    commands = [line.strip().removeprefix("$ ").removeprefix("# ").strip() for line in lines]
    return [re.sub(r"\s+#.*", "", command) for command in commands if command]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def targets() -> set[str]:
    text = (ROOT / "Makefile").read_text()
    lines = re.findall(r"^([a-z0-9][a-z0-9 ]*):(?!=)", text, re.M)
    return {name for line in lines for name in line.split()}


@cache
def commands() -> set[str]:
    told = process.run([sys.executable, "-m", "ohmykube", "--help"], timeout=60).stdout
    return set(re.findall(r"^  ([a-z]+)  +[A-Z]", told, re.M))


def test_there_are_pages() -> None:
    names = {name_of(path) for path in PAGES}
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/index.md"} <= names


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_make_targets_exist(page: Path) -> None:
    text = page.read_text()
    named = set(
        re.findall(r"(?:^|`|\$ |\s)make ([a-z0-9]+)(?=[`\s]|$)", "\n".join(blocks(text)), re.M)
    )
    named |= set(re.findall(r"`make ([a-z0-9]+)[^`]*`", text))
    assert named <= targets()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_subcommands_exist(page: Path) -> None:
    text = page.read_text()
    inline = re.findall(r"`((?:\.venv/bin/)?ohmykube [^`]+)`", text)
    for command in [*blocks(text), *inline]:
        for words in OWN_PROGRAMS.findall(command):
            if words.split():
                assert words.split()[0] in commands() | added(text), command


def added(text: str) -> set[str]:
    """Return the commands of others that a page makes: programs, and entry points of packages."""
    programs = set(re.findall(r"`ohmykube-([a-z]+)`", text))
    found = re.findall(r'entry-points\."ohmykube\.commands"\]\n([a-z]+) = ', text)
    return programs | set(found)


def slug(title: Token) -> str:
    """Return the anchor that GitHub gives to a heading."""
    text = "".join(part.content for part in title.children or () if part.type in HEARD)
    return re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")


@cache
def parsed(page: Path) -> tuple[Token, ...]:
    return tuple(MarkdownIt("commonmark", {"html": True}).enable("table").parse(page.read_text()))


@cache
def anchors(page: Path) -> frozenset[str]:
    """Return the anchors of a page: of two headings with one text, the second ends in ``-1``."""
    tokens = parsed(page)
    titles = [tokens[at + 1] for at, one in enumerate(tokens) if one.type == "heading_open"]
    found: list[str] = []
    for name in map(slug, titles):
        again = sum(re.fullmatch(rf"{re.escape(name)}(-\d+)?", one) is not None for one in found)
        found.append(f"{name}-{again}" if again else name)
    return frozenset(found)


def links(page: Path) -> list[str]:
    """Return where the links and pictures of a page lead to, by reference or not."""
    inside = [part for token in parsed(page) for part in token.children or ()]
    found = [part.attrs.get("href", part.attrs.get("src")) for part in inside]
    return [unquote(str(link)) for link in found if link]


def test_links_are_found_as_a_reader_sees_them(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One `code` & two\n\n# Same\n\n# Same\n\n[a](b.md#c) ![p](p.png) [r][ref]\n\n"
        "| [t](t.md) |\n|---|\n| [u](u%20v.md) |\n\n`[x](no.md)`\n\n```\n[x](no.md)\n```\n\n"
        "[ref]: r.md\n"
    )
    assert links(page) == ["b.md#c", "p.png", "r.md", "t.md", "u v.md"]
    assert anchors(page) == {"one-code--two", "same", "same-1"}


@pytest.mark.parametrize("page", [*PAGES, *ROLE_PAGES], ids=name_of)
def test_links_resolve(page: Path) -> None:
    broken = []
    for link in links(page):
        if urlsplit(link).scheme in {"http", "https", "mailto"}:
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        inside = target.is_relative_to(ROOT) and target.exists()
        if not inside or (anchor and (target.suffix != ".md" or anchor not in anchors(target))):
            broken.append(link)
    assert broken == []


def test_every_page_of_docs_is_reachable() -> None:
    docs = ROOT / "docs"
    seen: set[Path] = set()
    todo = [docs / "index.md"]
    while todo:
        page = todo.pop()
        seen.add(page)
        for link in links(page):
            target = (page.parent / link.partition("#")[0]).resolve()
            if target.suffix == ".md" and target.is_relative_to(docs) and target not in seen:
                todo.append(target)
    assert {name_of(path) for path in docs.rglob("*.md")} == {name_of(path) for path in seen}


def test_make_help_tells_every_public_target() -> None:
    told = process.run(["make", "help"], timeout=30, cwd=ROOT).stdout
    named = set(re.findall(r"^  make (\w+)", told, re.M))
    assert named == targets() - {"privileged", "understood"}


def test_the_two_commands_come_first() -> None:
    first = blocks((ROOT / "README.md").read_text())
    assert [line for line in first if line.startswith("make ")][:2] == ["make up", "make test"]


def test_the_steps_of_samples_are_those_of_the_program() -> None:
    """A sample of a run names each step as the program does today."""
    sources = "".join(path.read_text() for path in (ROOT / "ohmykube/steps").glob("*.py"))
    titles = set(re.findall(r"Step\(\s*\"[a-z-]+\",\s*\"([^\"]+)\"", sources))
    titles.update(run_playbook.TITLES.values())
    shown = {
        (name_of(page), line)
        for page in PAGES
        for line in re.findall(r"^[✓⠹✗] (.+?)  ", page.read_text(), re.M)
    }
    assert len(shown) > 10
    assert {one for one in shown if one[1] not in titles} == set()


# -- examples --------------------------------------------------------------------------------------

PLUGIN = "ohmykube.cluster.cluster"
LIMA = "ohmykube.cluster.lima"
ROLES = sorted((ROOT / "roles").iterdir())
EXAMPLES = [
    (f"{name_of(page)}-{number}", language, text)
    for page in [*PAGES, *(role / "README.md" for role in ROLES)]
    for number, (language, text) in enumerate(
        re.findall(r"^ *```(ya?ml|ini)\n(.*?)^ *```", page.read_text(), re.M | re.S), 1
    )
]


def kind_of(language: str, text: str) -> str:
    """Return what an example is for."""
    if language == "ini":
        return "hosts"
    found: Any = yaml.safe_load(text)
    if isinstance(found, list):
        return "playbook" if all("hosts" in play for play in found) else "unknown"
    sections = yaml.safe_load((ROOT / "changelogs" / "config.yaml").read_text())["sections"]
    signs = {
        "cluster": str(found.get("apiVersion")).startswith("ohmykube.dev/"),
        "plugin": found.get("plugin") == PLUGIN,
        "lima": found.get("plugin") == LIMA,
        "machine": "images" in found and "condition" not in found,
        "set": "condition" in found,
        "changelog": set(found) <= {name for name, _ in sections},
        "hosts": all(
            isinstance(group, dict) and {"hosts", "children"} & set(group)
            for group in found.values()
        ),
    }
    return next((kind for kind, fits in signs.items() if fits), "unknown")


def examples(kind: str) -> dict[str, str]:
    """Return the text of all examples of a kind by their names."""
    return {name: text for name, language, text in EXAMPLES if kind_of(language, text) == kind}


def ansible(directory: Path, *arguments: str) -> process.Result:
    """Run a program of Ansible in a directory; what it cannot read is an error."""
    (directory / "ansible.cfg").touch()
    env = {
        **os.environ,
        "ANSIBLE_CONFIG": str(directory / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
        "ANSIBLE_NOCOLOR": "true",
    }
    argv = [sys.executable, "-m", "ansible", *arguments]
    done = process.run(argv, timeout=120, env=env, cwd=directory, check=False)
    assert done.code == 0, done.stderr
    return done


def written(directory: Path, kind: str, suffix: str) -> list[str]:
    """Write all examples of a kind into a directory; return the names of the files."""
    files = []
    for name, text in examples(kind).items():
        # Examples below a list item are indented.
        indent = len(text) - len(text.lstrip(" "))
        lines = [line[indent:] if line[:indent].isspace() else line for line in text.splitlines()]
        files.append(f"{name.replace('/', '-')}{suffix}")
        (directory / files[-1]).write_text("\n".join(lines) + "\n")
    assert files
    return files


def test_every_example_is_of_a_kind_that_is_tried() -> None:
    assert examples("unknown") == {}
    assert {"docs/roles.md", "docs/providers.md", "docs/configuration.md"} <= {
        name.rpartition("-")[0] for name, _, _ in EXAMPLES
    }


def test_examples_of_clusters_load(tmp_path: Path) -> None:
    for name, text in examples("hosts").items():
        if name.startswith("docs/providers.md"):
            (tmp_path / "hosts.ini").write_text(text)
    (tmp_path / "src").mkdir()  # what one of them mounts, and what another trusts
    shutil.copy(ROOT / "tests/data/trust/one.pem", tmp_path / "company-ca.pem")
    (tmp_path / "keys").mkdir()  # the key to the hosts of a third
    (tmp_path / "keys" / "id_ed25519").touch()
    for file in written(tmp_path, "cluster", ".yaml"):
        loaded = load.load(tmp_path / file)
        assert loaded.cluster.nodes, file
        assert loaded.warnings == (), file


def test_examples_of_playbooks_pass_the_syntax_check(tmp_path: Path) -> None:
    files = written(tmp_path, "playbook", ".yml")
    told = ansible(tmp_path, "playbook", "-i", "localhost,", "--syntax-check", *files).stdout
    assert [file for file in files if f"playbook: {file}" not in told] == []


def test_examples_of_inventories_are_inventories(tmp_path: Path) -> None:
    for file in written(tmp_path, "hosts", ""):
        path = (tmp_path / file).rename(
            tmp_path / f"{file}{'.ini' if 'providers' in file else '.yml'}"
        )
        told = ansible(tmp_path, "inventory", "-i", path.name, "--list").stdout
        found = json.loads(told)
        assert len(found["_meta"]["hostvars"]) == 3, file
        assert {"kube_control_plane", "kube_node"} == set(found["k8s_cluster"]["children"]), file


def test_examples_of_the_inventory_plugin_show_a_cluster(tmp_path: Path) -> None:
    cluster = load.from_overrides(Overrides(name="dev", provider="nspawn"))
    store = StateStore(paths.from_environment().state)
    store.create(
        Record(
            id="",
            name=cluster.name,
            document=document.to_document(cluster),
            provider=cluster.provider,
            kubernetes_version=cluster.kubernetes_version,
        )
    )
    targets = {node.name: SshTarget(address="10.88.0.11", user="root") for node in cluster.nodes}
    directory = store.directory(cluster.name)
    text = ssh_config.render(targets, layout.control_directory(directory))
    (directory / layout.SSH_CONFIG).write_text(text)
    for file in written(tmp_path, "plugin", ".ohmykube.yml"):
        found = json.loads(ansible(tmp_path, "inventory", "-i", file, "--list").stdout)
        assert set(found["_meta"]["hostvars"]) == {node.name for node in cluster.nodes}


def test_examples_of_the_plugin_for_lima_show_a_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lima_world.world() as place:
        spec = MachineSpec(cluster="dev", node="cp1", cpus=1, memory_mib=512)
        place.provider().create(spec)
        monkeypatch.setenv("OHMYKUBE_LIMA_HOME", str(place.home.root))
        monkeypatch.setenv("PATH", f"{place.program.parent}:{os.environ['PATH']}")
        for file in written(tmp_path, "lima", ".lima.yml"):
            found = json.loads(ansible(tmp_path, "inventory", "-i", file, "--list").stdout)
            assert found["kube_control_plane"]["hosts"] == ["cp1"]


@pytest.mark.parametrize("role", ROLES, ids=lambda path: path.name)
def test_every_role_has_its_paragraph(role: Path) -> None:
    text = (ROOT / "docs" / "roles.md").read_text()
    assert f"**[{role.name}](../roles/{role.name}/README.md)** " in text


def test_the_exit_codes_are_those_of_the_program() -> None:
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", (ROOT / "docs" / "errors.md").read_text(), re.M)
    assert rows == [(str(int(code)), text) for code, text in MEANING.items()]


def test_every_letter_of_an_error_id_is_explained() -> None:
    text = "".join(path.read_text() for path in (ROOT / "ohmykube").rglob("*.py"))
    told = re.findall(r"^\| ([A-Z]) \|", (ROOT / "docs" / "errors.md").read_text(), re.M)
    assert set(re.findall(r"\bOMK-([A-Z])-\d", text)) == set(told)


@pytest.mark.parametrize("name", examples("set"))
def test_sets_of_artifacts_can_be_read(name: str) -> None:
    found = set_file.parse(yaml.safe_load(examples("set")[name]), {"version": "1.1.0"})
    assert found.condition == f"addon: {found.name}"
    assert set(found.image_variables.values()) <= {image.name for image in found.images}


@pytest.mark.parametrize("name", examples("machine"))
def test_machine_templates_can_be_used(name: str, tmp_path: Path) -> None:
    path = tmp_path / "machine.yaml"
    path.write_text(examples("machine")[name])
    found = lima_yaml.load(path, unverified=False)
    wanted = lima_yaml.LimaTemplate(
        id="0",
        instance="dev.w1",
        shape=lima_yaml.Shape(),
        network="n",
        image=None,
        base=found,
        emulation=True,
        system="linux",
    )
    rendered = yaml.safe_load(lima_yaml.render(wanted))
    assert rendered["images"] == found["images"]
    assert (
        found["vmOpts"]["qemu"]["cpuType"].items() <= rendered["vmOpts"]["qemu"]["cpuType"].items()
    )


DECISIONS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))


def test_decisions_are_numbered_and_listed() -> None:
    listed = (ROOT / "docs" / "decisions" / "index.md").read_text()
    assert [int(path.name[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))
    for number, path in enumerate(DECISIONS, 1):
        title = path.read_text().splitlines()[0]
        assert title.startswith(f"# {number}. ")
        assert f"\n{number}. [{title.removeprefix(f'# {number}. ')}]({path.name})\n" in listed


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_has_its_three_parts(path: Path) -> None:
    heads = re.findall(r"^## (.*)$", path.read_text(), re.M)
    assert heads == ["Context", "Decision", "Consequence"]
