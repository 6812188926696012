"""Each page in both themes: accessible, without errors, from its own server alone, under a strict policy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser.visiting import Furnished, Visitor, one_use_link

pytestmark = pytest.mark.e2e

AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text(encoding="utf-8")
RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
PAGES = {
    "overview": "/",
    "runs": "/runs",
    "runs found": "/runs?q=done&state=completed&sort=-accuracy",
    "runs not found": "/runs?q=nothing-like-it",
    "new run": "/runs/new",
    "new run from a run": "/runs/new?from={done}&alpha=0.1",
    "run": "/runs/{done}",
    "living run": "/runs/{living}",
    "crowded run": "/runs/{crowded}",
    "run, clients": "/runs/{done}?tab=clients",
    "run, rounds": "/runs/{done}?tab=rounds&round=3",
    "run, security": "/runs/{done}?tab=security",
    "run, models": "/runs/{done}?tab=models",
    "run, system": "/runs/{done}?tab=system",
    "run, logs": "/runs/{done}?tab=logs",
    "run, config": "/runs/{done}?tab=config",
    "compare": "/compare?ids={done},{other}&x=time",
    "compare nothing": "/compare",
    "events": "/events",
    "models": "/models",
    "login": "/login",
    "new run for a reader": "/runs/new",
}
SIGNED_IN = ("new run", "new run from a run")  # readers see these pages too, but less of them
PHONE = {"width": 360, "height": 740}


def address(name: str, furnished: Furnished) -> str:
    return PAGES[name].format(
        done=furnished.done, other=furnished.other, crowded=furnished.crowded, living=furnished.living
    )


def violations(visitor: Visitor) -> list[str]:
    """Return what axe-core finds, as text; evaluated from outside, so the page's policy is not in its way."""
    visitor.page.evaluate(AXE)
    found = visitor.page.evaluate(
        "(rules) => axe.run(document, {runOnly: {type: 'tag', values: rules}}).then((result) => result.violations.map("
        "(each) => [each.id, each.help, each.nodes.slice(0, 3).map((node) => [node.html, node.failureSummary])]))",
        list(RULES),
    )
    return [json.dumps(each, indent=1) for each in found]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_no_accessibility_violation_in_either_theme(
    name: str, furnished: Furnished, visitor: Callable[..., Visitor]
) -> None:
    someone = visitor(furnished.dashboard.url, reduced_motion="reduce")
    if name in SIGNED_IN:
        someone.sign_in(one_use_link(furnished.dashboard))
    someone.open(address(name, furnished))
    assert violations(someone) == []
    someone.page.evaluate("chooseTheme('dark')")
    assert violations(someone) == []


@pytest.mark.parametrize("name", PAGES)
def test_a_phone_never_scrolls_sideways(name: str, furnished: Furnished, visitor: Callable[..., Visitor]) -> None:
    someone = visitor(furnished.dashboard.url, viewport=PHONE, has_touch=True)
    if name in SIGNED_IN:
        someone.sign_in(one_use_link(furnished.dashboard))
    page = someone.open(address(name, furnished))
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_the_policy_allows_nothing_inline_and_nothing_evaluated(furnished: Furnished) -> None:
    policy = furnished.dashboard.get("/").headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe-" not in policy
    assert "frame-ancestors 'none'" in policy


def test_the_policy_is_enforced_by_the_browser(furnished: Furnished, visitor: Callable[..., Visitor]) -> None:
    someone = visitor(furnished.dashboard.url)
    someone.expected = ("Content Security Policy", "Refused to", "violates")
    page = someone.open("/")
    page.evaluate(
        "() => { const script = document.createElement('script'); script.textContent = 'window.pwned = 1';"
        " document.head.append(script); }"
    )
    assert page.evaluate("window.pwned") is None


def test_an_unknown_address_says_so(furnished: Furnished, visitor: Callable[..., Visitor]) -> None:
    someone = visitor(furnished.dashboard.url)
    someone.expected = ("404",)
    page = someone.open("/nowhere")
    assert page.get_by_role("heading", name="Page not found").is_visible()
    page = someone.open("/runs/no-such-run")
    assert page.get_by_text("There is no such run").is_visible()
