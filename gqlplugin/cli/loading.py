"""Finding what `module:attribute` means: an application, or a platform."""

from __future__ import annotations

import inspect
import sys
import traceback
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from gqlplugin.app import App
from gqlplugin.cli.failure import UsageError
from gqlplugin.cli.text import safe, safe_lines
from gqlplugin.errors import DefinitionError

_HOW = "write module:attribute, such as shop.main:app"
_LINES = 10
_EXTRAS = {
    "aiosqlite": "sqlalchemy",
    "jwt": "jwt",
    "sqlalchemy": "sqlalchemy",
    "stamina": "tailor",
    "temporalio": "temporal",
    "uvicorn": "server",
}
"""Which extra of ours brings what a module of the user's may need by what it imports of ours."""


def load_app(spec: str) -> App:
    """The app that a text such as `shop.main:app` means: an `App`, or a callable that needs no arguments and makes one.

    The current directory is on the path, as with `python -m`.

    Raises:
        UsageError: The module can't be imported, or has no such app.
    """
    found = find(spec)
    app = found if isinstance(found, App) else made(found, spec)
    if not isinstance(app, App):
        what = "makes" if app is not found else "is"
        raise UsageError(f"{spec!r} {what} a {type(app).__name__}, not an App: {_HOW}, made by define_app(...).")
    return app


def find(spec: str, what: str = "Application") -> object:
    """What is at a place in a module, such as `shop.main:app`.

    Raises:
        UsageError: The module can't be imported, or has no such attribute.
    """
    module_name, _, path = spec.partition(":")
    if not path or not all(part.isidentifier() for part in f"{module_name}.{path}".split(".")):
        raise UsageError(f"{what} {spec!r} is not a place in a module: {_HOW}.")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    with redirect_stdout(sys.stderr):  # a module that prints must not get between a command and its output
        return _attribute(_module(module_name), module_name, path)


def _module(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise UsageError(
                f"There is no module {error.name!r}. Modules are looked for in the current directory, "
                f"{str(Path.cwd())!r}, and in what is installed."
            ) from error
        _refuse(f"Module {name!r} can't be imported", error)
    except (Exception, SystemExit) as error:  # the module's own, whatever it is
        _refuse(f"Module {name!r} can't be imported", error)


def _attribute(module: Any, module_name: str, path: str) -> object:
    found = module
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            apps = sorted(name for name, value in vars(module).items() if isinstance(value, App))
            hint = f" It has: {', '.join(f'{module_name}:{name}' for name in apps)}." if apps else ""
            raise UsageError(f"Module {module_name!r} has no {path!r}.{hint}") from error
    return found


def made(factory: object, spec: str) -> object:
    """What a callable makes that needs no arguments; anything else is itself.

    Raises:
        UsageError: It needs arguments, or fails.
    """
    if not callable(factory):
        return factory
    try:
        inspect.signature(factory).bind()
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"{spec!r} can't be called without arguments ({safe(str(error))}): name an App, or a callable that needs "
            "none."
        ) from error
    try:
        with redirect_stdout(sys.stderr):
            return factory()
    except (Exception, SystemExit) as error:  # the callable's own, whatever it is
        _refuse(f"Calling {spec!r} failed", error)


def _refuse(what: str, error: BaseException) -> NoReturn:
    where = _where(error)
    if isinstance(error, DefinitionError):
        raise UsageError(f"{what}{where}: {safe(error.problems[0])}", map(safe, error.problems[1:])) from error
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if extra := _EXTRAS.get((missing or "").partition(".")[0]):
        hint = f"If it is not installed: pip install 'gqlplugin[{extra}]'."
        raise UsageError(f"{what}{where}: there is no module {missing!r}.", [hint]) from error
    first, *more = safe_lines(str(error)) or ["no message"]
    details = [*more[:_LINES], "The traceback: gqlplugin --debug ..."]
    raise UsageError(f"{what}{where}: {type(error).__name__}: {first}", details) from error


def _where(error: BaseException) -> str:
    """The last place in code of the user's own, which is the first that may have to change."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "importlib" not in frame.filename and not Path(frame.filename).is_relative_to(Path(__file__).parents[1])
    ]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
