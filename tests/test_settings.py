"""Settings: every wrong one gives a line that names it, all at once, and no secret is ever shown."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

from processor.errors import ExitCode, FatalError
from processor.settings import (
    Settings,
    admin_config,
    changelog_config,
    consumer_config,
    load_settings,
    load_with_origins,
    producer_config,
    registry_config,
    transactional_id,
)
from processor.settings_page import settings_page
from processor.topic_reader import silent_logger

if TYPE_CHECKING:
    from collections.abc import Mapping

SECRET = "hunter2-hunter2"  # what must not be shown
PAGE = Path(__file__).parent.parent / "docs" / "settings.md"


def load(
    text: str = "",
    *,
    env: Mapping[str, str] | None = None,
    directory: Path,
    flags: Mapping[str, object] | None = None,
) -> Settings:
    file = directory / "worker.toml"
    file.write_text(text, encoding="utf-8")
    return load_settings(file, flags or {}, env or {})


def problems(
    text: str = "",
    *,
    env: Mapping[str, str] | None = None,
    directory: Path,
    flags: Mapping[str, object] | None = None,
) -> list[str]:
    with pytest.raises(FatalError) as caught:
        load(text, env=env, directory=directory, flags=flags)
    assert caught.value.exit_code is ExitCode.SETTINGS
    return [line.replace(str(directory), "DIR") for line in str(caught.value).splitlines()]


def test_nothing_is_needed() -> None:
    settings = load_settings(environ={})

    assert settings.group == "status-processor"
    assert settings.topics.raw == ["carrier.status.raw"]
    assert settings.state.retention == timedelta(days=7)
    assert settings.kafka == {"bootstrap.servers": "localhost:9092"}
    assert settings.ordinal is None


def test_flags_go_over_variables_over_the_file_over_defaults(tmp_path: Path) -> None:
    text = "partitions = 1\n[batch]\nrecords_max = 1\ncommit_interval_ms = 1\n"
    env = {"STATUS_PROCESSOR_BATCH__RECORDS_MAX": "2", "STATUS_PROCESSOR_BATCH__COMMIT_INTERVAL_MS": "2"}

    settings = load(text, env=env, directory=tmp_path, flags={"batch.commit_interval_ms": "3"})

    assert (settings.partitions, settings.batch.records_max, settings.batch.commit_interval_ms) == (1, 2, 3)
    assert settings.limits.replies_max == 64


def test_the_environment_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text("partitions = 3", encoding="utf-8")

    assert load_settings(environ={"STATUS_PROCESSOR_SETTINGS": str(file)}).partitions == 3


def test_the_process_environment_is_read_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATUS_PROCESSOR_PARTITIONS", "7")

    assert load_settings().partitions == 7


def test_each_setting_knows_where_it_came_from(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text("partitions = 3", encoding="utf-8")

    _, origins = load_with_origins(file, {"group": "g"}, {"STATUS_PROCESSOR_LOG__LEVEL": "debug"})

    assert origins == {"partitions": str(file), "group": "flag", "log.level": "STATUS_PROCESSOR_LOG__LEVEL"}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("partitions = 'x'", "partitions = 'x' (DIR/worker.toml): must be a whole number from 1 to 10000"),
        ("partitions = 0", "partitions = 0 (DIR/worker.toml): must be a whole number from 1 to 10000"),
        ("create_topics = 'maybe'", "create_topics = 'maybe' (DIR/worker.toml): must be true or false"),
        ("batch = 5", "batch = 5 (DIR/worker.toml): must be a table"),
        ("kafka = 5", "kafka = 5 (DIR/worker.toml): must be a table"),
        ("ordinal = -1", "ordinal = -1 (DIR/worker.toml): must be a whole number from 0 to 1000000"),
        ("partition = 5", "partition (DIR/worker.toml): no such setting, did you mean partitions?"),
        (
            "[batch]\nrecord_max = 5",
            "batch.record_max (DIR/worker.toml): no such setting, did you mean batch.records_max?",
        ),
        (
            "start_offset = 'first'",
            "start_offset = 'first' (DIR/worker.toml): must be one of earliest, latest",
        ),
        (
            "state.retention = 7",
            "state.retention = 7 (DIR/worker.toml): must be a duration such as 7d, 36h or P7D",
        ),
        ("state.retention = '1s'", "state.retention = '1s' (DIR/worker.toml): must be a duration from 1m to 3650d"),
        (
            "replication_factor = 0",
            "replication_factor = 0 (DIR/worker.toml): must be at least 1, or -1 for the broker's default",
        ),
        ("topics.raw = []", "topics.raw = [] (DIR/worker.toml): must be a list that is not empty"),
        (
            "topics.raw = ['^status.*state']",
            (
                "topics.raw: '^status.*state' takes in 'status-processor.state', which is topics.state; "
                "a topic of the worker's own is never raw"
            ),
        ),
        (
            "topics.raw = ['a', 'message.status.changes']",
            (
                "topics.raw: 'message.status.changes' takes in 'message.status.changes', which is topics.changes; "
                "a topic of the worker's own is never raw"
            ),
        ),
        (
            "topics.changes = 'x'\ntopics.state = 'x'",
            "topics.state: 'x' is topics.changes already; each needs its own topic",
        ),
        (
            "[transaction]\ntimeout_ms = 90000",
            (
                "transaction.timeout_ms: 90000 must be less than transaction.max_poll_interval_ms (90000), "
                "or the group gives a worker up inside a transaction"
            ),
        ),
        ("[kafka]\n'group.id' = 'x'", "kafka.group.id (DIR/worker.toml): may not be set: use group"),
        (
            "[kafka]\nenable.auto.commit = true",
            "kafka.enable.auto.commit (DIR/worker.toml): may not be set: the worker sets it, exactly-once rests on it",
        ),
        (
            "[kafka]\n'sasl.mechansm' = 'PLAIN'",
            "kafka.sasl.mechansm (DIR/worker.toml): librdkafka has no such setting, did you mean sasl.mechanism?",
        ),
        (
            "[kafka]\n'security.protocol' = 'tls'",
            "kafka.security.protocol (DIR/worker.toml): 'tls' must be one of plaintext, ssl, sasl_plaintext, sasl_ssl",
        ),
        ("[kafka]\n'linger.ms' = -4", "kafka.linger.ms (DIR/worker.toml): -4 is outside of 0 to 900000"),
        (
            "[kafka]\n'sasl.mechanism' = 'SCRAM-SHA512'",
            (
                "kafka.sasl.mechanism (DIR/worker.toml): 'SCRAM-SHA512' must be one of "
                "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER"
            ),
        ),
        (
            "[kafka]\n'security.protocol' = 'sasl_ssl'\n'sasl.mechanism' = 'PLAIN'",
            "kafka: Failed to create producer: sasl.username and sasl.password must be set",
        ),
        (
            "registry.url = 'http://localhost/?token=x'",
            (
                "registry.url = 'http://localhost/?***' (DIR/worker.toml): must be an http:// or https:// address "
                "without a query; user and password have settings of their own"
            ),
        ),
        ("[kafka]\nerror_cb = 'x'", "kafka.error_cb (DIR/worker.toml): librdkafka has no such setting"),
        ("[registry.options]\ntimeout = 5", "registry.options: no registry.url is set"),
        ("registry.username = 'me'", "registry: username and password go together, only one of them is set"),
    ],
)
def test_a_wrong_setting_gives_one_line(text: str, line: str, tmp_path: Path) -> None:
    assert problems(text, directory=tmp_path) == [line]


def test_all_problems_of_all_sources_come_at_once(tmp_path: Path) -> None:
    text = "nope = 1\npartitions = 0\n[log]\nlevel = 'loud'\n[kafka]\nacks = 1\n"
    env = {"STATUS_PROCESSOR_BATCH__RECORD_MAX": "1", "STATUS_PROCESSOR_METRICS__PORT": "x"}

    assert problems(text, env=env, directory=tmp_path, flags={"limits.replies_max": "0"}) == [
        "nope (DIR/worker.toml): no such setting",
        "STATUS_PROCESSOR_BATCH__RECORD_MAX: no such setting, did you mean STATUS_PROCESSOR_BATCH__RECORDS_MAX?",
        "kafka.acks (DIR/worker.toml): may not be set: the worker sets it, exactly-once rests on it",
        "partitions = 0 (DIR/worker.toml): must be a whole number from 1 to 10000",
        "limits.replies_max = '0' (flag): must be a whole number from 1 to 255",
        "metrics.port = 'x' (STATUS_PROCESSOR_METRICS__PORT): must be a whole number from 0 to 65535",
        "log.level = 'loud' (DIR/worker.toml): must be one of debug, info, warning, error",
    ]


def test_what_librdkafka_refuses_only_together_comes_with_the_rest(tmp_path: Path) -> None:
    text = "[kafka]\n'linger.ms' = -4\n'security.protocol' = 'sasl_ssl'\n'sasl.mechanism' = 'PLAIN'\n"

    assert problems(text, directory=tmp_path) == [
        "kafka.linger.ms (DIR/worker.toml): -4 is outside of 0 to 900000",
        "kafka: Failed to create producer: sasl.username and sasl.password must be set",
    ]


@pytest.mark.parametrize("text", ["", " ", ":9092", "kafka:", "kafka:port", "kafka:9092,,b", f"me:{SECRET}@kafka:9092"])
def test_addresses_that_name_no_broker_are_refused_at_start(text: str, tmp_path: Path) -> None:
    assert problems(directory=tmp_path, flags={"kafka.bootstrap.servers": text}) == [
        "kafka.bootstrap.servers (flag): must be the host:port of one broker or more, with commas"
    ]


@pytest.mark.parametrize("text", ["kafka", "kafka_1.x:9092, 10.0.0.1:9093", "[::1]:9092,SASL_SSL://kafka:9092"])
def test_addresses_are_written_as_librdkafka_takes_them(text: str, tmp_path: Path) -> None:
    assert load(directory=tmp_path, flags={"kafka.bootstrap.servers": text}).kafka["bootstrap.servers"] == text


def test_a_file_that_is_not_there_is_one_problem_among_others(tmp_path: Path) -> None:
    with pytest.raises(FatalError) as caught:
        load_settings(tmp_path / "none.toml", {"partitions": "0"}, {})

    assert str(caught.value).splitlines() == [
        f"settings file {tmp_path / 'none.toml'}: cannot be read (No such file or directory)",
        "partitions = '0' (flag): must be a whole number from 1 to 10000",
    ]


def test_a_file_that_is_not_toml_says_where(tmp_path: Path) -> None:
    (line,) = problems("x = = 1", directory=tmp_path)

    assert line == "settings file DIR/worker.toml: not TOML: Invalid value (at line 1, column 5)"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7d", timedelta(days=7)),
        ("36h", timedelta(hours=36)),
        ("90m", timedelta(minutes=90)),
        ("P1DT6H", timedelta(hours=30)),
    ],
)
def test_a_duration_is_written_as_people_write_it(text: str, expected: timedelta, tmp_path: Path) -> None:
    assert load(directory=tmp_path, flags={"state.retention": text}).state.retention == expected


@pytest.mark.parametrize("text", ["a, b", '["a", "b"]'])
def test_a_list_may_come_as_one_text(text: str, tmp_path: Path) -> None:
    assert load(env={"STATUS_PROCESSOR_TOPICS__RAW": text}, directory=tmp_path).topics.raw == ["a", "b"]


def test_kafka_keys_may_be_dotted_quoted_nested_or_a_variable(tmp_path: Path) -> None:
    text = "[kafka]\n'linger.ms' = 7\nsocket.timeout.ms = 5000\nbootstrap.servers = ['a:1', 'b:2']\n"
    env = {"STATUS_PROCESSOR_KAFKA__CLIENT_ID": "c"}

    settings = load(text, env=env, directory=tmp_path, flags={"kafka.batch.size": "9"})

    assert settings.kafka == {
        "bootstrap.servers": "a:1,b:2",
        "linger.ms": 7,
        "socket.timeout.ms": 5000,
        "client.id": "c",
        "batch.size": "9",
    }


SECRETS = (
    "identity_key",
    "registry.password",
    "kafka.sasl.password",
    "kafka.ssl.key.password",
    "kafka.sasl.oauthbearer.client.secret",
    "registry.options.bearer.auth.token",
)


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_not_in_the_settings_words(name: str, tmp_path: Path) -> None:
    more = {"registry.url": "http://localhost"} if name.startswith("registry") else {}
    if name == "registry.password":
        more["registry.username"] = "me"
    if name == "registry.options.bearer.auth.token":
        more |= {
            "registry.options.bearer.auth.credentials.source": "STATIC_TOKEN",
            "registry.options.bearer.auth.logical.cluster": "l",
            "registry.options.bearer.auth.identity.pool.id": "p",
        }

    settings = load(directory=tmp_path, flags={name: SECRET, **more})

    assert SECRET not in repr(settings) + str(settings) + str(settings.model_dump()) + settings.model_dump_json()


@pytest.mark.parametrize(
    "flags",
    [
        {"identity_kye": SECRET},
        {"kafka.sasl.passwrd": SECRET},
        {"kafka.sasl.password": SECRET, "kafka.security.protocol": "SASL_SSL", "kafka.sasl.mechanism": "PLAIN"},
        {"kafka.ssl.key.pem": SECRET, "kafka.security.protocol": "ssl"},
        {"kafka.sasl.password": [SECRET, {"a": SECRET}], "partitions": 0},
        {"registry.url": f"https://me:{SECRET}@localhost"},
        {"registry.url": f"https://localhost/?token={SECRET}"},
        {"kafka.bootstrap.servers": f"me:{SECRET}@kafka:9092"},
        {"registry.password": {"x": SECRET}},
        {"registry.url": "http://localhost", "registry.options.basic.auth.user.info": SECRET},
        {"registry.url": "http://localhost", "registry.options.secret": SECRET},
        {"identity_key": [SECRET]},
        {"identity_key": SECRET, "identity_key_file": "/nowhere"},
    ],
)
def test_a_secret_is_not_in_a_problem(flags: dict[str, object], tmp_path: Path) -> None:
    assert SECRET not in "\n".join(problems(directory=tmp_path, flags=flags))


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("identity_key", "STATUS_PROCESSOR_IDENTITY_KEY_FILE"),
        ("kafka.sasl.password", "STATUS_PROCESSOR_KAFKA__SASL_PASSWORD_FILE"),
    ],
)
def test_a_secret_may_come_from_a_file_by_any_way(name: str, variable: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(f"{SECRET}\n", encoding="utf-8")

    by_flag = load(directory=tmp_path, flags={f"{name}_file": str(secret)})
    by_variable = load(env={variable: str(secret)}, directory=tmp_path)
    by_file = load(f"{name}_file = '{secret}'", directory=tmp_path)

    for settings in (by_flag, by_variable, by_file):
        config = admin_config(settings)
        assert SECRET in {settings.identity_key.get_secret_value(), config.get("sasl.password")}


def test_a_secret_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert problems(directory=tmp_path, flags={"identity_key_file": "/nowhere/x"}) == [
        "identity_key_file = '/nowhere/x' (flag): cannot be read (No such file or directory)"
    ]


def test_on_kubernetes_the_ordinal_is_the_pods(tmp_path: Path) -> None:
    env = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "HOSTNAME": "status-processor-12"}

    assert load(env=env, directory=tmp_path).ordinal == 12
    assert load(env=env, directory=tmp_path, flags={"ordinal": "3"}).ordinal == 3
    assert load(env={**env, "HOSTNAME": "status-processor-7d9f-45267"}, directory=tmp_path).ordinal is None
    assert load(env={"HOSTNAME": "pc-12"}, directory=tmp_path).ordinal is None


def test_variables_that_kubernetes_sets_for_a_service_of_our_name_are_left_alone(tmp_path: Path) -> None:
    env = {
        "KUBERNETES_SERVICE_HOST": "10.0.0.1",
        "STATUS_PROCESSOR_SERVICE_HOST": "10.0.0.2",
        "STATUS_PROCESSOR_METRICS_SERVICE_PORT_HTTP": "9464",
        "STATUS_PROCESSOR_PORT": "tcp://10.0.0.2:9464",
        "STATUS_PROCESSOR_PORT_9464_TCP_ADDR": "10.0.0.2",
    }

    assert load(env=env, directory=tmp_path).metrics.port == 9464


def test_the_transactional_id_needs_an_ordinal(tmp_path: Path) -> None:
    with pytest.raises(FatalError, match="ordinal: not set") as caught:
        transactional_id(load(directory=tmp_path))

    assert caught.value.exit_code is ExitCode.SETTINGS
    assert transactional_id(load("application = 'a'\ngroup = 'g'\nordinal = 2", directory=tmp_path)) == "a-g-2"


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_every_client_can_be_made(protocol: str, tmp_path: Path) -> None:
    settings = load(
        "ordinal = 0\n[kafka]\nsession.timeout.ms = 9000\nbootstrap.servers = '127.0.0.1:1'", directory=tmp_path
    )
    logger = silent_logger()

    Consumer({**consumer_config(settings, protocol)}, logger=logger).close()
    Consumer({**changelog_config(settings)}, logger=logger).close()
    Producer({**producer_config(settings)}, logger=logger).close()
    AdminClient(admin_config(settings), logger=logger)


def test_users_tune_clients_but_not_what_exactly_once_rests_on(tmp_path: Path) -> None:
    settings = load("ordinal = 0\n[kafka]\n'linger.ms' = 50", directory=tmp_path)
    config = producer_config(settings)

    assert config["linger.ms"] == 50
    assert (config["acks"], config["enable.idempotence"], config["transaction.timeout.ms"]) == ("all", True, 15_000)
    assert config["message.timeout.ms"] == 12_000
    assert consumer_config(settings)["isolation.level"] == "read_committed"


def test_the_registrys_password_goes_to_its_client_only(tmp_path: Path) -> None:
    text = f"[registry]\nurl = 'https://r'\nusername = 'me'\npassword = '{SECRET}'\noptions.timeout = 5\n"

    assert registry_config(load(text, directory=tmp_path)) == {
        "url": "https://r",
        "basic.auth.user.info": f"me:{SECRET}",
        "timeout": 5,
    }
    assert registry_config(load(directory=tmp_path)) is None


def test_the_page_of_settings_is_fresh() -> None:
    assert PAGE.read_text(encoding="utf-8") == settings_page()


def test_static_membership_gives_each_worker_an_id_of_its_own() -> None:
    assert "group.instance.id" not in consumer_config(Settings(ordinal=3))
    config = consumer_config(Settings(ordinal=3, static_membership=True), "consumer")
    assert config["group.instance.id"] == "status-processor-status-processor-3"
