"""The programs' arithmetic and parsers. Nothing is measured here."""

import datetime as dt
import json

import pytest

from bench import memory, nginx, program, readme, table, wrk
from bench.figures import BenchError, Effort, Figure, Series, Target, take_turns

WRK = """\
Running 2s test @ http://127.0.0.1:8000/app/bench/static
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.15ms  412.37us  14.20ms   92.31%
    Req/Sec    27.88k     2.13k   31.01k    70.00%
  Latency Distribution
     50%  950.00us
     75%    1.21ms
     90%    1.48ms
     99%    2.50ms
  55497 requests in 2.00s, 14.71MB read
Requests/sec:  27744.49
Transfer/sec:      7.36MB
"""


def test_what_wrk_prints_is_read_in_seconds():
    found = wrk.parse(WRK)
    assert found.rate == 27744.49
    assert found.p50 == pytest.approx(0.00095)
    assert found.p99 == pytest.approx(0.0025)
    assert found.requests == 55497
    assert found.failed == 0


def test_whole_seconds_and_minutes_are_read_too():
    found = wrk.parse(WRK.replace("950.00us", "1.50s").replace("2.50ms", "1.00m"))
    assert (found.p50, found.p99) == (1.5, 60.0)


def test_every_kind_of_failure_is_counted():
    extra = "  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 90\n"
    assert wrk.parse(WRK.replace("Requests/sec", extra + "Requests/sec")).failed == 100


@pytest.mark.parametrize("text", ["", "unable to connect to 127.0.0.1:1", WRK.split("Latency Dist")[0]])
def test_anything_else_is_refused(text):
    with pytest.raises(BenchError):
        wrk.parse(text)


def test_latencies_without_a_distribution_are_refused():
    with pytest.raises(BenchError, match="latencies"):
        wrk.parse(WRK.replace("99%", "98%"))


def test_a_missing_program_is_named():
    with pytest.raises(BenchError, match="no-such-program-1 and no-such-program-2 missing"):
        wrk.require("sh", "no-such-program-1", "no-such-program-2")


def test_sides_take_turns():
    order = []
    taken = take_turns({"a": lambda: order.append("a") or 1, "b": lambda: order.append("b") or 2}, 3)
    assert order == ["a", "b"] * 3
    assert taken == {"a": [1, 1, 1], "b": [2, 2, 2]}


def figure(target=None, **more):
    ours, peer = Series("ours", [40, 50, 90], [0.001] * 3, [0.002] * 3), Series("nginx", [100, 100, 120])
    return Figure("static, c = 32", "req/s", ours, peer, target, **more)


def test_the_ratio_is_that_of_the_medians_and_the_spread_that_of_the_rounds():
    assert figure().ratio == 0.5
    assert figure().spread == (0.4, 0.75)


@pytest.mark.parametrize(
    ("target", "passed"),
    [
        (None, None),
        (Target("ratio", "≥", 0.5), True),
        (Target("ratio", "≥", 0.51), False),
        (Target("ratio", "≤", 0.5), True),
        (Target("ours", "≤", 50.0), True),
        (Target("ours", "≤", 49.9), False),
    ],
)
def test_a_target_bounds_the_ratio_or_our_own_figure(target, passed):
    assert figure(target).passed is passed
    assert program.verdict([figure(target)]) == (passed is False)


def test_a_document_survives_json():
    found = json.loads(json.dumps(figure(Target("ratio", "≥", 0.4, aim=0.65)).document()))
    assert found["ours"] == {
        "name": "ours",
        "median": 50,
        "rounds": [40, 50, 90],
        "p50_seconds": 0.001,
        "p99_seconds": 0.002,
    }
    assert found["target"] == {"of": "ratio", "sign": "≥", "bound": 0.4, "aim": 0.65}
    assert (found["ratio"], found["spread"], found["passed"]) == (0.5, [0.4, 0.75], True)


def test_the_table_is_aligned_and_tells_absolutes_ratio_and_verdict():
    text = table.as_text([figure(Target("ratio", "≥", 0.4, aim=0.65), note="noisy"), figure()])
    head, first, second, note = text.splitlines()
    assert first.index("50 req/s") == second.index("50 req/s") == head.index("ours")
    assert first.split("  ")[0] == "static, c = 32"
    for cell in ("100 req/s (nginx)", "0.50", "0.40-0.75", "≥ 0.4 (aim 0.65)", "PASS", "1.00 / 2.00 ms"):
        assert cell in first
    assert note == "static, c = 32: noisy"


def test_markdown_has_one_cell_for_each_column():
    lines = table.as_markdown([figure(Target("ours", "≤", 49.0))]).splitlines()
    assert {line.count("|") for line in lines} == {len(table.HEAD) + 1}
    assert "| ≤ 49 req/s | FAIL |" in lines[2]


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [(12345.6, "req/s", "12,346 req/s"), (0.2719, "s", "0.272 s"), (30.94, "MB", "30.9 MB")],
)
def test_amounts_carry_their_unit(value, unit, shown):
    assert table.amount(value, unit) == shown


def test_only_what_stands_between_the_markers_is_replaced():
    page = f"# Title\n\n{readme.BEGIN}\n\nold\n\n{readme.END}\nafter\n"
    content = readme.block([figure()], {"cores": "2", "kernel": "6.1"}, dt.date(2026, 1, 2))
    once = readme.replace(page, content)
    assert once.startswith(f"# Title\n\n{readme.BEGIN}\n\nMeasured on 2026-01-02: cores 2, kernel 6.1.\n\n|")
    assert once.endswith(f"\n\n{readme.END}\nafter\n")
    assert "old" not in once
    assert readme.replace(once, content) == once


@pytest.mark.parametrize(
    "page",
    [
        "",
        readme.BEGIN,
        readme.END,
        f"{readme.END}{readme.BEGIN}",
        f"{readme.BEGIN}{readme.END}{readme.BEGIN}",
        f"{readme.BEGIN}{readme.BEGIN}{readme.END}",
    ],
)
def test_a_page_without_one_pair_of_markers_is_left_alone(page):
    with pytest.raises(BenchError, match="markers"):
        readme.replace(page, "new")


def test_the_page_itself_has_its_markers():
    page = readme.README.read_text("utf-8")
    assert "new" in readme.replace(page, "new")


def test_private_memory_is_clean_and_dirty_without_what_is_shared():
    rollup = "Rss: 900 kB\nShared_Clean: 500 kB\nPrivate_Clean:       16 kB\nPrivate_Dirty:     1000 kB\nSwap: 0 kB\n"
    assert memory.private_bytes(rollup) == 1016 * 1024


@pytest.mark.parametrize(
    ("lines", "path"),
    [
        ("4:memory:/docker/0a\n1:cpu:/docker/0a\n0::/system.slice\n", "memory/docker/0a"),
        ("3:cpu,memory:/docker/0a\n", "memory/docker/0a"),
        ("0::/system.slice/docker-0a.scope\n", "system.slice/docker-0a.scope"),
    ],
)
def test_the_cgroup_that_counts_memory_is_found_in_either_version(lines, path):
    assert memory.memory_cgroup(lines) == path


def test_effort_is_bounded():
    options = program.parser_of("x").parse_args(["--rounds", "101"])
    with pytest.raises(BenchError, match="at most 100 rounds"):
        program.effort(options, Effort(1))


def test_options_win_over_quick_and_quick_over_the_program():
    options = program.parser_of("x").parse_args(["--quick", "--seconds", "4"])
    assert program.effort(options, Effort(9, 5.0)) == Effort(program.QUICK.rounds, 4.0)


def test_nginx_is_told_everything_in_its_own_directory(tmp_path):
    command = nginx.proxy(tmp_path / "front", tmp_path / "p.sock", 8123)
    config = (tmp_path / "front/nginx.conf").read_text("utf-8")
    assert command[-1] == str(tmp_path / "front/nginx.conf")
    assert "listen 127.0.0.1:8123" in config
    assert f"server unix:{tmp_path}/p.sock;" in config
    assert "{" + "{" not in config
