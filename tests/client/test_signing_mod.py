"""The signing mod: what a client refuses to work on, and what it puts its name to."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from client.signing_mod import (
    MAX_REQUEST_AGE_S,
    client_id_of,
    identities_from,
    identity_from_node_config,
    make_signing_mod,
    server_key_from_node_config,
)
from shared.crypto.keys import KeyStore, key_id
from shared.errors import KeyStoreError, RequestRefused
from shared.records import to_array_record
from tests.actors import MODEL, Federation, honest_work, identity, private_key, with_record


def context_of(**node_config: str | int) -> Context:
    config = {key.replace("_", "-"): value for key, value in node_config.items()}
    return Context(run_id=1, node_id=101, node_config=config, state=RecordDict(), run_config={})


def trained_by(message: Message) -> list[Message]:
    """Run the mod on a request; returns what reached the app."""
    reached: list[Message] = []

    def app(request: Message, context: Context) -> Message:
        reached.append(request)
        return Message(honest_work("client-0", request), reply_to=request)

    mod = make_signing_mod(lambda _: identity("client-0"), lambda _: private_key("server").public_key())
    try:
        mod(message, context_of(), app)
    except RequestRefused:
        assert reached == []
        raise
    return reached


def request() -> Message:
    return Federation(num_clients=1).ask()[0]


def test_the_app_sees_what_the_strategy_sent() -> None:
    message = request()

    (seen,) = trained_by(message)

    assert sorted(seen.content) == ["arrays", "config"]
    assert "request" in message.content  # what the grid holds is left alone


def test_nothing_is_trained_on_a_model_that_was_changed_on_the_way() -> None:
    changed = {**MODEL, "conv.bias": np.ones(2, np.float32)}

    with pytest.raises(RequestRefused, match="changed on the way"):
        trained_by(with_record(request(), "arrays", to_array_record(changed)))


def test_nothing_is_trained_with_settings_that_were_changed_on_the_way() -> None:
    with pytest.raises(RequestRefused, match="not signed by the server"):
        trained_by(with_record(request(), "config", ConfigRecord({"server-round": 1, "learning-rate": 1e9})))


def test_nothing_is_trained_without_a_request() -> None:
    with pytest.raises(RequestRefused, match="not signed"):
        trained_by(with_record(request(), "request", None))
    with pytest.raises(RequestRefused, match="not signed"):
        trained_by(with_record(request(), "request", MetricRecord({"attempt": 1})))


def test_nothing_is_trained_for_another_server() -> None:
    mod = make_signing_mod(lambda _: identity("client-0"), lambda _: private_key("mallory").public_key())

    with pytest.raises(RequestRefused, match="which public key this client trusts"):
        mod(request(), context_of(), lambda message, _: message)


def test_nothing_is_trained_for_another_node() -> None:
    first, second = Federation(num_clients=2).ask()

    with pytest.raises(RequestRefused, match="is for node 101, this is node 102"):
        trained_by(with_record(with_record(second, "request", None), "request", first.content["request"]))


def test_a_request_to_evaluate_is_not_taken_for_one_to_train() -> None:
    message = Federation(num_clients=1).ask(1, "evaluate")[0]
    posing = Message(message.content, dst_node_id=message.metadata.dst_node_id, message_type="train")

    with pytest.raises(RequestRefused, match="'evaluate', not for 'train'"):
        trained_by(posing)


@pytest.mark.parametrize(("age_s", "works"), [(0, True), (-9e9, True), (86_399, True), (86_401, False), (9e9, False)])
def test_a_deployed_client_does_not_work_on_what_was_signed_long_ago(age_s: float, works: bool) -> None:
    federation = Federation(num_clients=1, options={"now": lambda: 1_700_000_000.0})
    mod = make_signing_mod(
        lambda _: identity("client-0"),
        lambda _: private_key("server").public_key(),
        now=lambda: 1_700_000_000.0 + age_s,
        max_age_s=MAX_REQUEST_AGE_S,
    )
    reached: list[Message] = []

    def app(message: Message, _: Context) -> Message:
        reached.append(message)
        return Message(honest_work("client-0", message), reply_to=message)

    with nullcontext() if works else pytest.raises(RequestRefused, match="hours ago"):
        mod(federation.ask()[0], context_of(), app)
    assert bool(reached) is works


def test_arrays_that_cannot_be_read_are_refused() -> None:
    message = request()
    broken = ArrayRecord({"conv.bias": copy.copy(message.content["arrays"]["conv.bias"])})
    broken["conv.bias"].stype = "pickle"

    with pytest.raises(RequestRefused, match="cannot be read"):
        trained_by(with_record(message, "arrays", broken))


def test_an_error_of_the_app_goes_out_as_it_is() -> None:
    mod = make_signing_mod(lambda _: identity("client-0"), lambda _: private_key("server").public_key())

    reply = mod(request(), context_of(), lambda message, _: Message(Error(7, "no data"), reply_to=message))

    assert (reply.error.code, reply.error.reason) == (7, "no data")


def test_it_works_as_a_mod_of_a_flower_app() -> None:
    mod = make_signing_mod(lambda _: identity("client-0"), lambda _: private_key("server").public_key())
    app = ClientApp(mods=[mod])

    @app.train()
    def train(message: Message, context: Context) -> Message:
        return Message(honest_work("client-0", message), reply_to=message)

    federation = Federation(num_clients=1)
    reply = app(federation.ask()[0], context_of())

    assert federation.strategy.receive(1, "train", reply).is_accepted


def test_the_global_model_is_hashed_once_for_clients_that_are_given_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from shared.crypto import digest

    hashed: list[int] = []
    real = digest.model_digest
    monkeypatch.setattr(digest, "model_digest", lambda arrays: hashed.append(1) or real(arrays))  # type: ignore[func-returns-value]
    mod = make_signing_mod(lambda _: identity("client-0"), lambda _: private_key("server").public_key())
    for message in Federation(num_clients=4).ask():
        mod(message, context_of(), lambda asked, _: Message(honest_work("client-0", asked), reply_to=asked))

    assert len(hashed) == 1


def test_a_store_gives_each_client_its_own_lasting_key(tmp_path: Path) -> None:
    store = KeyStore(tmp_path, key_bits=2048)
    identity_of = identities_from(store)
    first, again, other = (identity_of(context_of(partition_id=number)) for number in (0, 0, 1))

    assert [who.client_id for who in (first, other)] == ["client-0", "client-1"]
    assert first is again
    assert first.key_id == key_id(store.load("client-0").public_key()) != other.key_id


def test_a_node_names_its_client() -> None:
    assert client_id_of(context_of(partition_id=3)) == "client-3"
    assert client_id_of(context_of(partition_id=3, client_id="ward-7")) == "ward-7"
    with pytest.raises(KeyStoreError, match="node-config"):
        client_id_of(context_of())
    with pytest.raises(KeyStoreError, match="must be 1 to 64"):
        client_id_of(context_of(client_id="../x"))


def test_a_supernodes_keys_are_named_in_its_config(tmp_path: Path) -> None:
    store = KeyStore(tmp_path, password=b"secret", key_bits=2048)
    key = store.load_or_create("ward-7")
    server = KeyStore(tmp_path / "server", key_bits=2048).load_or_create("server")
    (tmp_path / "server.pub.pem").write_bytes((tmp_path / "server" / "server.pub.pem").read_bytes())
    context = context_of(partition_id=0, client_id="ward-7", key_path=str(store.private_path("ward-7")))

    who = identity_from_node_config(context, {"CONSTELLATION_KEY_PASSWORD": "secret"})

    assert (who.client_id, who.key_id) == ("ward-7", key_id(key.public_key()))
    assert server_key_from_node_config(context).public_numbers() == server.public_key().public_numbers()


def test_a_supernode_without_keys_trains_for_nobody(tmp_path: Path) -> None:
    with pytest.raises(KeyStoreError, match="key-path"):
        identity_from_node_config(context_of(partition_id=0), {})
    with pytest.raises(KeyStoreError, match=r"server\.pub\.pem"):
        server_key_from_node_config(context_of(key_path=str(tmp_path / "client-0.pem")))
    with pytest.raises(KeyStoreError, match=r"elsewhere\.pem"):
        server_key_from_node_config(context_of(key_path="x", server_key_path=str(tmp_path / "elsewhere.pem")))
