"""A page that is wrong is found out."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest

from tests.walk import Block, Prompt, Walk, blocks, shown


@pytest.fixture
def walk(tmp_path) -> Iterator[Walk]:
    made = Walk(Prompt(tmp_path, os.environ), os.environ, tmp_path)
    yield made
    made.close()


def carried_out(walk: Walk, text: str) -> None:
    page = walk.logs / "page.md"
    page.write_text(text)
    for block in blocks(page):
        walk.carry_out(block, 10)


def test_a_command_that_fails_ends_the_page(walk):
    """A wrong line in the middle of a block is seen, with what was printed till then."""
    with pytest.raises(AssertionError, match=r"page\.md:1: failed(?s:.*)one\n"):
        carried_out(walk, "```sh\necho one\nfalse\necho two\n```\n")


def test_a_command_that_does_not_end_is_ended(walk):
    """With the page's place, not with the patience of whoever runs the tests."""
    with pytest.raises(AssertionError, match="not done within"):
        walk.prompt.type(Block("sh", "", "", "page.md:1"), "sleep 600", 0.2)


def test_directory_and_variables_last_from_block_to_block(walk, tmp_path):
    """As in a terminal."""
    carried_out(
        walk, '```sh\nmkdir sub; cd sub; export A=1\n```\n```sh\necho "$A $PWD"\n```\n```text\n1 …/sub\n```\n'
    )
    assert walk.prompt.directory == tmp_path / "sub"


def test_files_are_written_where_the_prompt_stands(walk):
    """A block with a title is the file of that name."""
    carried_out(
        walk, '```python title="a.py"\nprint(1)\n```\n```sh\ncat a.py\n```\n```python\nprint(1)\n```\n'
    )


def test_code_of_an_example_is_that_of_its_file(walk, tmp_path):
    """A line that differs is found."""
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples/a.py").write_text("one\ntwo\nthree\n")
    carried_out(walk, '```python title="examples/a.py"\ntwo\nthree\n```\n')
    with pytest.raises(AssertionError, match=r"page\.md:1"):
        carried_out(walk, '```python title="examples/a.py"\none\nthree\n```\n')


def test_a_terminal_runs_on_and_is_waited_for(walk):
    """What it prints late is awaited; it is ended with the page."""
    page = (
        '```sh title="Terminal 2"\necho ready; sleep 0.1; echo go; sleep 600\n```\n```text\nready\ngo\n```\n'
    )
    carried_out(walk, page)
    (terminal,) = walk.terminals
    terminal.close()


@pytest.mark.parametrize(
    ("page", "output", "same"),
    [
        ("a … c\n", "a b c\n", True),
        ("a … c\n", "a b\nc\n", False),
        ("a\n…\nd\n", "x\na\nb\nc\nd\n", True),
        ("a\nb\n", "a\nx\nb\n", False),
        ("a.b\n", "axb\n", False),
        ("a\n", "ab\n", False),
    ],
)
def test_output_is_compared_line_by_line(page, output, same):
    """Three dots stand for a part of a line, on a line of their own for lines; nothing else may differ."""
    assert bool(re.search(shown(page), output)) is same
