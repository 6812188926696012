import shlex

from monitor.report.distribution import distribution
from monitor.report.facts import command_of
from monitor.report.learning import accuracy_figure, loss_figure, time_figure, updates_figure
from monitor.report.verdict import verdict
from monitor.tables import ClientRow, RoundRow, RunSeries, Summary
from monitor.tally import Spread
from shared.config import RunConfig


def run(clients: list[ClientRow] | None = None, rounds: list[RoundRow] | None = None, **summary: object) -> RunSeries:
    return RunSeries(
        run="r", started_ts=None, config={"num-rounds": 5}, num_clients=len(clients or []) or 2, num_parameters=1,
        workers=1, class_names=("cat", "dog"), rounds=tuple(rounds or []), clients=tuple(clients or []), refusals=(),
        summary=Summary(state="completed", rounds_completed=5, **summary),  # type: ignore[arg-type]
    )  # fmt: skip


def test_the_command_names_what_was_chosen_and_nothing_else() -> None:
    config = RunConfig(num_clients=10, alpha=0.1, signatures=False, attack=("forge:1", "nan:2"), dataset="npz:/a b.npz")
    words = shlex.split(command_of({**config.as_flat(), "output": "elsewhere"}))
    assert words == [
        "python", "run_demo.py", "--dataset", "npz:/a b.npz", "--alpha", "0.1", "--num-clients", "10",
        "--no-signatures", "--attack", "forge:1", "--attack", "nan:2",
    ]  # fmt: skip
    assert command_of(RunConfig().as_flat()) == "python run_demo.py"


def test_the_verdict_names_reasons_by_frequency_and_counts_the_rest() -> None:
    found = verdict(
        run(
            updates_accepted=1,
            updates_rejected=12,
            updates_late=1,
            rounds_without_update=1,
            rejections={"norm": 6, "replay": 3, "schema": 2, "malformed": 1},
        )
    )
    assert "1 update was accepted; 12 were refused: 6 because the update is far larger" in found
    assert "; 1 for other reasons. 1 reply came too late." in found
    assert "In 1 round the old model was kept" in found


def test_the_verdict_says_when_there_was_no_central_test_set() -> None:
    assert "of the clients&#x27; own test examples right" in verdict(run(accuracy=0.5))
    assert "of the central test examples right" in verdict(
        run(rounds=[RoundRow(server_round=1, accuracy=0.5)], accuracy=0.5)
    )


def test_few_clients_are_a_table_of_counts() -> None:
    made = distribution(run([ClientRow(client="a", histogram=(30, 10)), ClientRow(client="b", histogram=(0, 20))]))
    assert "20 to 40 examples a client, 30 in the middle." in made
    assert "most frequent class is 88% of its data; 50% would be even." in made  # median of 75% and 100%
    assert '<th scope="col" class="n">dog</th>' in made
    assert 'style="--a:0.562">30</td>' in made  # 0.75 x 30/40


def test_many_clients_are_put_together_by_main_class() -> None:
    clients = [ClientRow(client=str(i), histogram=(10, 0) if i % 2 else (0, 1 + i % 5)) for i in range(300)]
    made = distribution(run(clients))
    assert "Each column is the mean of 3 clients. 300 of 300 clients lack at least one class." in made
    # Sorted by main class: the first class fills the left half, the second the right one.
    assert 'd="M0.0 0.0h10.0v500.0h-10.0z' in made
    assert "M990.0 500.0h10.0v500.0h-10.0z" in made
    assert "M990.0 0.0" not in made


def test_clients_without_known_data_are_not_drawn() -> None:
    assert distribution(run([ClientRow(client="a"), ClientRow(client="b", histogram=(0, 0))])) == ""


def test_many_classes_are_put_together() -> None:
    clients = [ClientRow(client=str(i), histogram=tuple(int(c == i) for c in range(1000))) for i in range(50)]
    made = distribution(run(clients))
    assert made.count("<span ") < 100


def test_plots_without_values_are_left_out() -> None:
    empty = [RoundRow(server_round=1)]
    assert accuracy_figure(empty, None) == loss_figure(empty) == time_figure(empty) == updates_figure(empty) == ""


def test_updates_are_drawn_only_where_some_were_not_accepted() -> None:
    assert updates_figure([RoundRow(server_round=1, accepted=3)]) == ""
    assert "refused" in updates_figure([RoundRow(server_round=1, accepted=3, rejected=1)])


def test_the_band_is_of_percentiles_only_where_every_round_has_them() -> None:
    few = Spread(mean=0.5, deviation=0.1, minimum=0.2, maximum=0.9)
    many = Spread(mean=0.5, deviation=0.1, minimum=0.2, maximum=0.9, p10=0.4, p90=0.6)
    both = [RoundRow(server_round=1, client_accuracy=many), RoundRow(server_round=2, client_accuracy=few)]
    assert "10th to 90th percentile" in accuracy_figure(both[:1], None)
    assert "minimum to maximum" in accuracy_figure(both, None)
    assert "There was no central test set." in accuracy_figure(both, None)


def test_time_is_the_mean_where_rounds_share_a_column() -> None:
    rounds = [RoundRow(server_round=i, collect_seconds=1.0, seconds=2.0) for i in range(1, 122)]
    made = time_figure(rounds)
    assert "50% of the rounds&#x27; time is the clients&#x27; training." in made
    assert "Each column is the mean of 3 rounds." in made
    assert "Rounds 1 to 3: training and waiting for it: 1 s; everything else: 1 s" in made


def test_long_tables_are_thinned_and_keep_the_last_round() -> None:
    made = loss_figure([RoundRow(server_round=i, loss=1.0) for i in range(1, 1001)])
    assert made.count("<tr>") == 1 + 200 + 1
    assert "one round of 5, metrics.csv has them all" in made
    assert '<th scope="row" class="short">1000</th>' in made
