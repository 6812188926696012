import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.report.html import Html, element, join, preformatted


def test_elements_nest_and_text_is_escaped() -> None:
    assert element("p", "a<b", element("b", 1), None, class_="x y") == '<p class="x y">a&lt;b<b>1</b></p>'


def test_attributes_are_escaped_and_empty_ones_left_out() -> None:
    made = element("span", title='"><script>', data_x=1, hidden=True, lang=None, open=False)
    assert made == '<span title="&quot;&gt;&lt;script&gt;" data-x="1" hidden></span>'


def test_void_elements_have_no_end() -> None:
    assert element("meta", charset="utf-8") == '<meta charset="utf-8">'
    assert element("path", d="M0 0") == '<path d="M0 0"/>'
    assert element("rect", element("title", "t")) == "<rect><title>t</title></rect>"


def test_what_runs_or_loads_cannot_be_built() -> None:
    for name in ("onclick", "href", "src", "ONLOAD"):
        with pytest.raises(ValueError, match="report"):
            element("a", **{name: "x"})
    with pytest.raises(ValueError, match="attribute"):
        element("a", **{"x y": "1"})


def test_lines_are_kept_in_preformatted_text() -> None:
    assert preformatted("a <\n b") == '<pre tabindex="0"><code>a &lt;\n b</code></pre>'


@given(st.text())
def test_no_text_becomes_markup(text: str) -> None:
    made = join(text)
    assert isinstance(made, Html)
    assert not set(made) & set("<>\"'")
    assert made.isprintable()
