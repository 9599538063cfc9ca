import dataclasses

import pytest

from genro_asgi.exceptions import ConfigError
from genro_asgi.limits import Limits


def test_the_defaults_are_the_documented_ones() -> None:
    assert dataclasses.asdict(Limits()) == {
        "max_body": 16 * 1024 * 1024,
        "url_bytes": 8192,
        "header_count": 100,
        "header_bytes": 65536,
        "query_pairs": 1000,
        "json_depth": 1024,
        "form_fields": 1000,
        "form_files": 1000,
        "field_bytes": 1024 * 1024,
        "part_headers": 32,
        "part_header_bytes": 8192,
        "upload_memory": 1024 * 1024,
        "body_timeout": 60.0,
        "handler_timeout": 60.0,
        "max_request_timeout": 300.0,
        "ws_connections": 10_000,
        "ws_message": 1024 * 1024,
        "ws_in_flight": 64,
        "ws_streams": 256,
        "ws_headers": 64,
        "ws_header_bytes": 8192,
        "ws_depth": 64,
        "ws_queue": 1024 * 1024,
        "ws_resume": 60.0,
        "ws_resume_bytes": 256 * 1024,
        "ws_resume_sessions": 1000,
    }


def test_limits_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Limits().max_body = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("written", "size"),
    [
        (0, 0),
        (1000, 1000),
        ("1000", 1000),
        ("64k", 65536),
        ("64 KB", 65536),
        (" 16 MiB ", 16 * 1024**2),
        ("2g", 2 * 1024**3),
        ("10 b", 10),
    ],
)
def test_sizes_are_numbers_or_words(written: object, size: int) -> None:
    assert Limits.from_mapping({"max_body": written}).max_body == size


@pytest.mark.parametrize(
    "written", [True, -1, 1.5, None, "lots", "", "-1", "1.5k", "16 tons", "٣", "9" * 30, [1], b"1"]
)
def test_what_is_no_size_is_refused(written: object) -> None:
    with pytest.raises(ConfigError) as caught:
        Limits.from_mapping({"max_body": written}, "config.yaml: limits")
    assert str(caught.value) == (
        f"config.yaml: limits.max_body: {written!r} is not a size; write a whole number of 0 or more, "
        'or one with k, M or G such as "16 MiB".'
    )


@pytest.mark.parametrize(("written", "seconds"), [(5, 5.0), (0.5, 0.5), ("2.5", 2.5)])
def test_times_are_seconds(written: object, seconds: float) -> None:
    limits = Limits.from_mapping({"body_timeout": written, "max_request_timeout": written})
    assert (limits.body_timeout, limits.max_request_timeout) == (seconds, seconds)


@pytest.mark.parametrize("written", [None, "none", "null", "None", ""])
def test_some_times_may_be_left_out(written: object) -> None:
    assert Limits.from_mapping({"handler_timeout": written}).handler_timeout is None
    with pytest.raises(ConfigError, match=r"limits.max_request_timeout: .* is not a time; write seconds above 0\.$"):
        Limits.from_mapping({"max_request_timeout": written})


@pytest.mark.parametrize("written", [0, -1, "soon", True, "nan", "inf", [1]])
def test_what_is_no_time_is_refused(written: object) -> None:
    with pytest.raises(ConfigError, match="is not a time; write seconds above 0, or null for no limit"):
        Limits.from_mapping({"body_timeout": written})


def test_an_unknown_key_is_told_with_those_that_exist() -> None:
    with pytest.raises(
        ConfigError, match=r"^site\.yaml: unknown key 'max_bdy'; allowed are max_body, url_bytes, .*\.$"
    ):
        Limits.from_mapping({"max_bdy": 1}, "site.yaml")


@pytest.mark.parametrize("key", ["json_depth", "ws_depth"])
@pytest.mark.parametrize("depth", [0, 1025])
def test_depths_stay_within_what_parsers_can_do(key: str, depth: int) -> None:
    with pytest.raises(ConfigError, match=rf"limits.{key}: {depth} is out of range; write 1 to 1024"):
        Limits.from_mapping({key: depth})


@pytest.mark.parametrize("mapping", [None, 5, ["max_body"]])
def test_limits_must_be_a_mapping(mapping: object) -> None:
    with pytest.raises(ConfigError, match="is not a mapping of limits to values"):
        Limits.from_mapping(mapping)  # type: ignore[arg-type]
