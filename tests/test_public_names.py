"""What is public stays: a name that goes is a decision, made in public_names.txt."""

import ast
import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

import pytest

NAMES = Path(__file__).with_name("public_names.txt").read_text().split()
ROOT = Path(__file__).parents[1]
PACKAGES = sorted(
    ".".join(path.relative_to(ROOT).parts[1:-1])
    for path in ROOT.glob("*/corral/**/__init__.py")
    if "lazily(" in path.read_text()
)


def test_every_public_name_is_still_there() -> None:
    missing = [name for name in NAMES if not _is_public(*name.rsplit(".", 1))]
    assert missing == []


def test_every_name_that_is_exported_is_listed() -> None:
    modules = sorted({name.rsplit(".", 1)[0] for name in NAMES})
    exported = {f"{module}.{name}" for module in modules for name in importlib.import_module(module).__all__}
    assert sorted(exported - set(NAMES)) == []


def test_the_rooms_import_their_names_late() -> None:
    assert {f"corral.{room}" for room in ("policy", "tools", "memory", "sandbox", "agents")} <= set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_what_is_imported_late_is_what_type_checkers_see(package: str) -> None:
    module = importlib.import_module(package)
    seen = _imported(module)
    assert sorted(seen) == sorted(module.__all__)
    assert [name for name in seen if getattr(module, name) is not seen[name]] == []
    assert set(module.__all__) <= set(dir(module))


@pytest.mark.parametrize("package", PACKAGES)
def test_no_public_name_turns_into_a_module_once_that_is_imported(package: str) -> None:
    module = importlib.import_module(package)
    for part in pkgutil.iter_modules(module.__path__):
        if part.name in module.__all__:
            importlib.import_module(f"{package}.{part.name}")
    assert [name for name in module.__all__ if isinstance(getattr(module, name), ModuleType)] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_a_name_that_is_not_there_is_an_error_that_says_so(package: str) -> None:
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing'"):
        _ = importlib.import_module(package).nothing


def _imported(package: ModuleType) -> dict[str, object]:
    """What the imports in a package's source give, those for type checkers among them."""
    tree = ast.parse(Path(package.__file__ or "").read_text())
    froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    return {
        alias.name: getattr(importlib.import_module(node.module or ""), alias.name)
        for node in froms
        for alias in node.names
        if (node.module or "").startswith(f"{package.__name__}.") and alias.name != "lazily"
    }


def _is_public(module: str, name: str) -> bool:
    found = importlib.import_module(module)
    return name in found.__all__ and hasattr(found, name)
