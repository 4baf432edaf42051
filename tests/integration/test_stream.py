"""Connecting, and PROCESS_EVENTS and PROCESS_STATES as a real nats-server has them."""

from collections.abc import Iterator

import pytest
from nats.js import JetStreamContext, api

from observe_lib.broker.connect import connect
from observe_lib.broker.loop import Bridge
from observe_lib.broker.stream import (
    BUCKET,
    STREAM,
    EnsuredStream,
    StreamOptions,
    ask_stream,
    ensure_bucket,
    ensure_stream,
    reader_config,
)
from observe_lib.errors import NatsError
from observe_lib.settings import NatsSettings
from tests.nats_server import RealNats


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    found = Bridge()
    found.start()
    yield found
    found.stop()


@pytest.fixture
def js(bridge: Bridge, nats_server: RealNats) -> Iterator[JetStreamContext]:
    nc = bridge.run(connect(NatsSettings(nats_server.url), name="test"), 10)
    yield nc.jetstream(timeout=2)
    bridge.run(nc.close(), 5)


class TestEnsure:
    def test_missing_is_made(self, bridge, js):
        made = bridge.run(ensure_stream(js, StreamOptions()))
        assert made == EnsuredStream(True, False, 86400, 600, "file")
        config = bridge.run(js.stream_info(STREAM)).config
        assert (config.subjects, config.retention) == (["core.process.>"], "limits")
        assert bridge.run(ensure_stream(js, StreamOptions())).created is False
        assert bridge.run(ensure_bucket(js, StreamOptions())).created
        assert not bridge.run(ensure_bucket(js, StreamOptions())).created
        bucket = bridge.run(js.stream_info(f"KV_{BUCKET}")).config
        assert (bucket.max_msgs_per_subject, bucket.max_age, bucket.storage) == (1, 0, "file")

    @pytest.mark.parametrize(
        ("options", "age_s", "window_s"),
        [
            (StreamOptions(max_age_s=60), 60, 60),
            (StreamOptions(max_age_s=7 * 86400), 7 * 86400, 600),
            (StreamOptions(max_age_s=600, duplicate_window_s=30), 600, 30),
        ],
    )
    def test_limits(self, bridge, js, options, age_s, window_s):
        made = bridge.run(ensure_stream(js, options))
        assert (made.max_age_s, made.duplicate_window_s) == (age_s, window_s)

    def test_somebody_elses_is_used_as_it_is(self, bridge, js):
        theirs = api.StreamConfig(
            name=STREAM,
            subjects=["core.>", "more"],
            max_age=999,
            max_msgs=5,
            storage=api.StorageType.MEMORY,
            metadata={"owner": "they"},
        )
        bridge.run(js.add_stream(theirs))
        before = bridge.run(js.stream_info(STREAM)).config
        found = bridge.run(ensure_stream(js, StreamOptions()))
        assert found == EnsuredStream(False, False, 999, 120, "memory")
        assert bridge.run(js.stream_info(STREAM)).config == before

        found = bridge.run(ensure_stream(js, StreamOptions(max_age_s=60)))
        assert found == EnsuredStream(False, True, 60, 60, "memory")
        after = bridge.run(js.stream_info(STREAM)).config
        assert after == before.evolve(max_age=60, duplicate_window=60)
        assert bridge.run(ensure_stream(js, StreamOptions(max_age_s=60))).changed is False

    def test_a_bucket_that_the_nats_command_can_edit(self, bridge, js):
        """It sends all settings anew, as it makes them itself; what cannot be changed must agree."""
        bridge.run(ensure_bucket(js, StreamOptions()))
        theirs = {
            "name": f"KV_{BUCKET}",
            "subjects": [f"$KV.{BUCKET}.>"],
            "description": "edited",
            "retention": "limits",
            "storage": "file",
            "discard": "new",
            "max_msgs_per_subject": 1,
            "max_msgs": -1,
            "max_bytes": -1,
            "max_msg_size": -1,
            "max_consumers": -1,
            "max_age": 0,
            "duplicate_window": 120 * 10**9,
            "num_replicas": 1,
            "deny_delete": True,
            "allow_rollup_hdrs": True,
            "allow_direct": True,
        }
        made = bridge.run(ask_stream(js, "INFO", stream=theirs["name"]))["config"]
        edited = bridge.run(ask_stream(js, "UPDATE", theirs, theirs["name"]))["config"]
        assert {**made, "description": "edited"} == edited
        assert {name: edited[name] for name in theirs} == theirs

    def test_a_stream_that_is_no_bucket(self, bridge, js):
        bridge.run(js.add_stream(name=f"KV_{BUCKET}", subjects=["other"]))
        with pytest.raises(NatsError, match="is no bucket"):
            bridge.run(ensure_bucket(js, StreamOptions()))

    @pytest.mark.parametrize("subjects", [["other"], ["core.process.*"], ["core.process.default.>"]])
    def test_one_that_takes_other_subjects(self, bridge, js, subjects):
        bridge.run(js.add_stream(name=STREAM, subjects=subjects))
        with pytest.raises(NatsError, match="does not take core.process.>"):
            bridge.run(ensure_stream(js, StreamOptions()))

    def test_what_the_server_refuses(self, bridge, js):
        bridge.run(js.add_stream(name="OTHER", subjects=["core.process.default.>"]))
        with pytest.raises(NatsError, match="subjects overlap"):
            bridge.run(ensure_stream(js, StreamOptions()))
        bridge.run(js.delete_stream("OTHER"))
        bridge.run(ensure_stream(js, StreamOptions()))
        for options in (StreamOptions(duplicate_window_s=10**6), StreamOptions(replicas=3)):
            with pytest.raises(NatsError, match=f"refuses the stream {STREAM}: ") as caught:
                bridge.run(ensure_stream(js, options))
            assert caught.value.hint

    def test_two_at_once(self, bridge, js):
        futures = [bridge.spawn(ensure_stream(js, StreamOptions(max_age_s=60 + n))) for n in range(5)]
        assert sum(future.result(5).created for future in futures) >= 1
        futures = [bridge.spawn(ensure_bucket(js, StreamOptions())) for _ in range(5)]
        assert sum(future.result(5).created for future in futures) >= 1

    def test_no_jetstream(self, bridge, tmp_path):
        with RealNats(tmp_path, jetstream=False) as server:
            nc = bridge.run(connect(NatsSettings(server.url), name="test"))
            for ensure in (ensure_stream, ensure_bucket):
                with pytest.raises(NatsError, match=f"{server.url} has no JetStream") as caught:
                    bridge.run(ensure(nc.jetstream(), StreamOptions()))
                assert "-js" in caught.value.hint
            bridge.run(nc.close())


class TestReaderConfig:
    def test_by_default_the_last_per_subject(self):
        config = reader_config("x", ["a"])
        assert (config.deliver_policy, config.filter_subject, config.filter_subjects) == (
            "last_per_subject",
            "a",
            None,
        )
        assert (config.ack_policy, config.durable_name, config.mem_storage) == ("none", None, True)

    def test_from_a_place_with_several_filters(self):
        config = reader_config("x", ["a", "b"], start_seq=7)
        assert (config.deliver_policy, config.opt_start_seq) == ("by_start_sequence", 7)
        assert (config.filter_subject, config.filter_subjects) == (None, ["a", "b"])

    def test_too_many_filters_become_one(self):
        assert reader_config("x", [str(n) for n in range(121)]).filter_subject == "core.process.>"

    def test_durable(self):
        config = reader_config("pager", ["a"], ack_wait_s=10)
        assert (config.durable_name, config.ack_policy, config.ack_wait) == ("pager", "explicit", 10)
        assert config.inactive_threshold is None and not config.mem_storage
