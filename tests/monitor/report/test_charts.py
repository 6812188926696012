import re

from monitor.report.charts import Band, Column, Level, Line, Stack, column_chart, line_chart
from monitor.report.scale import nice_scale


def chart(*lines: Line, bands: tuple[Band, ...] = (), levels: tuple[Level, ...] = ()) -> str:
    return line_chart(
        label="accuracy", scale=nice_scale(0.0, 1.0), lines=lines, bands=bands, levels=levels,
        show=lambda value: f"{value:.2f}", show_tick=lambda value: f"{value:g}",
    )  # fmt: skip


def paths(markup: str, style: str) -> list[str]:
    found = re.findall(r'<path d="([^"]*)" class="([^"]*)"', markup)
    return [path for path, classes in found if classes == style]


def test_a_line_goes_from_corner_to_corner() -> None:
    made = chart(Line(label="a", points=[(0, 0.0), (1, 0.5), (2, 1.0)], style="s1"))
    assert paths(made, "line s1") == ["M0.0 1000.0L500.0 500.0L1000.0 0.0"]
    assert paths(made, "dots s1") == ["M0.0 1000.0h0M500.0 500.0h0M1000.0 0.0h0"]


def test_a_round_without_a_value_breaks_the_line() -> None:
    made = chart(Line(label="a", points=[(0, 0.0), (1, None), (2, 1.0)], style="s1"))
    assert paths(made, "line s1") == ["M0.0 1000.0M1000.0 0.0"]


def test_a_single_round_stands_in_the_middle() -> None:
    assert paths(chart(Line(label="a", points=[(3, 0.5)], style="s1")), "dots s1") == ["M500.0 500.0h0"]


def test_nothing_to_draw_is_nothing() -> None:
    assert chart() == chart(Line(label="a", points=[(1, None)], style="s1")) == ""


def test_a_band_goes_along_its_top_and_back_along_its_bottom() -> None:
    line = Line(label="a", points=[(0, 0.5), (1, 0.5)], style="s1")
    made = chart(line, bands=(Band(label="b", points=[(0, 0.25, 1.0), (1, 0.0, 0.75)], style="s2"),))
    assert paths(made, "band s2") == ["M0.0 0.0L1000.0 250.0L1000.0 1000.0L0.0 750.0z"]


def test_each_round_says_its_values_and_the_plot_says_what_it_is() -> None:
    made = chart(
        Line(label="global", points=[(1, 0.5)], style="s1"),
        bands=(Band(label="clients", points=[(1, 0.25, 0.75)], style="s2"),),
        levels=(Level(label="all data", value=0.9, style="s4"),),
    )
    assert "<title>Round 1: global: 0.50; clients: 0.25 to 0.75</title>" in made
    assert 'role="img" aria-label="accuracy"' in made
    assert re.findall(r"</svg>([^<]+)</li>", made) == ["global", "clients", "all data"]


def test_very_many_rounds_stay_light() -> None:
    made = chart(Line(label="a", points=[(i, i / 5000) for i in range(5001)], style="s1"))
    assert "<title>" not in made
    assert "dots" not in made


def test_columns_are_stacked_and_empty_parts_left_out() -> None:
    made = column_chart(
        label="time",
        scale=nice_scale(0.0, 4.0),
        columns=[Column(name="Round 1", first=1, last=1), Column(name="Round 2", first=2, last=2)],
        stacks=[
            Stack(label="train", values=[1.0, 2.0], style="c1"),
            Stack(label="aggregate", values=[0.0, 2.0], style="c2"),
        ],
        show=lambda value: f"{value:g}",
    )
    # Half the width each, 18% of it left free; heights are quarters of 1000, from the bottom.
    assert paths(made, "area c1") == ["M45.0 750.0h410.0v250.0h-410.0zM545.0 500.0h410.0v500.0h-410.0z"]
    assert paths(made, "area c2") == ["M545.0 0.0h410.0v500.0h-410.0z"]
    assert "<title>Round 2: train: 2; aggregate: 2</title>" in made
    assert re.findall(r'style="left:([\d.]+)%">(\d)<', made) == [("25.00", "1"), ("75.00", "2")]


def test_a_column_of_several_rounds_carries_the_tick_of_any_of_them() -> None:
    columns = [Column(name=f"Rounds {i} to {i + 1}", first=i, last=i + 1) for i in range(1, 20, 2)]
    made = column_chart(
        label="x", scale=nice_scale(0.0, 1.0), columns=columns, show=str,
        stacks=[Stack(label="a", values=[1.0] * 10, style="c1")],
    )  # fmt: skip
    ticks = {name: left for left, name in re.findall(r'style="left:([\d.]+)%">(\d+)<', made)}
    assert ticks == {"1": "5.00", "5": "25.00", "10": "45.00", "15": "75.00", "20": "95.00"}
