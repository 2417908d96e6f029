"""The shop's page, as a browser gets it. What it does in one is tested in `tests/browser`."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from example_app.page import STATIC
from gqlplugin.testing import GraphQLClient

pytestmark = pytest.mark.anyio

FILES = sorted(path.name for path in STATIC.iterdir())
TYPES = {".html": "text/html", ".css": "text/css", ".js": "javascript", ".svg": "image/svg+xml"}
NAMESPACES = {"http://www.w3.org/2000/svg"}


class Tags(HTMLParser):
    """The tags of a page with their attributes, and the text within scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.inline = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem:
            self.inline += data.strip()


async def test_the_page_is_served_under_a_strict_policy(client: GraphQLClient) -> None:
    """Anybody gets it, and a browser runs nothing in it but the shop's own files."""
    del client.http.headers["Authorization"]
    answer = await client.http.get("/")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert {policy[name] for name in ("script-src", "style-src", "connect-src", "img-src")} == {"'self'"}
    assert {policy[name] for name in ("base-uri", "form-action", "frame-ancestors")} == {"'none'"}
    assert policy["require-trusted-types-for"] == "'script'"
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_its_files_are_served(client: GraphQLClient) -> None:
    """Each with its type and the same headers, and fresh after a change."""
    for name in FILES:
        answer = await client.http.get(f"/page/{name}")
        assert (answer.status_code, answer.content) == (200, (STATIC / name).read_bytes())
        assert TYPES[Path(name).suffix] in answer.headers["content-type"]
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        again = await client.http.get(f"/page/{name}", headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.headers["cache-control"]) == (304, "no-cache")


async def test_nothing_else_is_served(client: GraphQLClient) -> None:
    """Not what lies beside the files, and not the directory."""
    for path in ("/page/", "/page/nothing.js", "/page/../__init__.py", "/page/%2e%2e/__init__.py"):
        assert (await client.http.get(path)).status_code == 404, path


@pytest.mark.parametrize("name", FILES)
def test_no_file_needs_another_host(name: str) -> None:
    """There is no address of another host in any file: no CDN, no fonts, no beacon."""
    text = (STATIC / name).read_text()
    assert set(re.findall(r"https?://[^\s\"'<>]+", text)) <= NAMESPACES
    assert not re.search(r"""["'(]//""", text)
    assert "@import" not in text


def test_the_page_has_nothing_inline_and_names_files_that_are_there() -> None:
    """No script or style, no handler and no style attribute: the policy forbids them."""
    tags = Tags((STATIC / "index.html").read_text())
    assert tags.inline == ""
    assert [name for _, attributes in tags.found for name in attributes if name.startswith("on")] == []
    assert not any("style" in attributes or tag == "style" for tag, attributes in tags.found)
    named = [value for _, attributes in tags.found for name in ("src", "href") if (value := attributes.get(name))]
    assert {Path(value).name for value in named if value.startswith("/page/")} <= set(FILES)
    assert {value for value in named if not value.startswith("/page/")} == {"#content", "/graphql"}


def test_its_modules_name_modules_and_elements_that_are_there() -> None:
    """Every import is of a file and of what that exports; every element that is looked up by its ID is in the page."""
    modules = {name: (STATIC / name).read_text() for name in FILES if name.endswith(".js")}
    ids = {attributes.get("id") for _, attributes in Tags((STATIC / "index.html").read_text()).found}
    for name, text in modules.items():
        for imported, source in re.findall(r"import \{([^}]*)\} from \"\./([^\"]+)\"", text):
            exported = set(re.findall(r"export (?:async )?(?:function\*?|class|const) (\w+)", modules[source]))
            assert set(re.findall(r"\w+", imported)) <= exported, name
        named = set(re.findall(r"getElementById\(\"([^\"]+)\"\)", text))
        for prefix in re.findall(r"const part = .*getElementById\(`([^$]+)\$", text):
            named |= {prefix + part for part in re.findall(r"\bpart\(\"([^\"]+)\"\)", text)}
        assert named <= ids, name
        assert "innerHTML" not in text


def test_every_control_has_a_label_and_every_table_a_caption() -> None:
    """Who can't see the page is told what each field and table is."""
    found = Tags((STATIC / "index.html").read_text()).found
    labelled = {attributes.get("for") for tag, attributes in found if tag == "label"}
    assert {attributes.get("id") for tag, attributes in found if tag in ("input", "select")} <= labelled
    tags = [tag for tag, _ in found]
    assert tags.count("table") == tags.count("caption") > 0
    ids = {attributes.get("id") for _, attributes in found}
    assert {value for _, attributes in found if (value := attributes.get("aria-labelledby"))} <= ids
