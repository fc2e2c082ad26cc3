"""Frames as they pass by, cut into any pieces: what is whole passes unchanged, what breaks a rule does not."""

import pytest
from hypothesis import given, strategies as st

from controller.dataplane.frames import PROTOCOL_ERROR, TOO_BIG, Frames, close_frame

TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 0x1, 0x2, 0x0, 0x8, 0x9, 0xA


def frame(opcode, payload=b"", *, fin=True, masked=True):
    """One frame as a client (masked) or a server writes it."""
    bit = 0x80 if masked else 0
    size = len(payload)
    first = bytes([(0x80 if fin else 0) | opcode])
    if size < 126:
        head = first + bytes([bit | size])
    elif size < 2**16:
        head = first + bytes([bit | 126]) + size.to_bytes(2, "big")
    else:
        head = first + bytes([bit | 127]) + size.to_bytes(8, "big")
    return head + (b"mask" if masked else b"") + payload


def fed(pieces, *, masked=True, limit=2**20):
    frames = Frames(masked=masked, limit=limit)
    return frames, b"".join(frames.feed(piece) for piece in pieces)


payloads = st.binary(max_size=300) | st.sampled_from([b"x" * 125, b"x" * 126, b"x" * 2**16])
messages = st.lists(payloads, min_size=1, max_size=3)


def wire(conversation, *, masked):
    out = b""
    for pieces in conversation:
        for number, piece in enumerate(pieces):
            last = number == len(pieces) - 1
            out += frame(CONTINUATION if number else BINARY, piece, fin=last, masked=masked)
            out += frame(PING, b"?", masked=masked)
    return out


@given(st.lists(messages, max_size=3), st.booleans(), st.lists(st.integers(0, 200), max_size=20))
def test_what_is_good_passes_unchanged_however_it_is_cut(conversation, masked, cuts):
    """Not a byte is lost, added or reordered, and in the end all is whole."""
    data = wire(conversation, masked=masked) + frame(CLOSE, b"\x03\xe8", masked=masked)
    pieces, at = [], 0
    for cut in cuts:
        pieces.append(data[at : at + cut])
        at += cut
    pieces.append(data[at:])
    frames, out = fed(pieces, masked=masked)
    assert out == data
    assert (frames.closed, frames.fault, frames.between) == (True, None, True)


@pytest.mark.parametrize(
    "bad",
    [
        frame(TEXT, b"a", masked=False),
        bytes([0x80 | 0x40 | TEXT, 0x80]) + b"mask",
        bytes([0x80 | 0x20 | TEXT, 0x80]) + b"mask",
        bytes([0x80 | 0x10 | TEXT, 0x80]) + b"mask",
        *[frame(opcode) for opcode in (0x3, 0x7, 0xB, 0xF)],
        frame(PING, b"x" * 126),
        frame(CLOSE, b"x" * 126),
        frame(PING, fin=False),
        frame(CONTINUATION, b"a"),
        frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"),
        bytes([0x80 | TEXT, 0x80 | 126, 0, 125]) + b"mask" + b"x" * 125,
        bytes([0x80 | TEXT, 0x80 | 127]) + (2**16 - 1).to_bytes(8, "big") + b"mask",
        bytes([0x80 | TEXT, 0x80 | 127]) + (2**63).to_bytes(8, "big") + b"mask",
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_what_breaks_a_rule_never_passes(bad, size):
    """The good frame before it does; the bad one and all behind it do not."""
    good = frame(TEXT, b"hello")
    data = good + bad + good
    frames, out = fed(data[at : at + size] for at in range(0, len(data), size))
    assert frames.fault is not None
    assert frames.fault.code == PROTOCOL_ERROR
    assert out in {good, good + frame(TEXT, b"a", fin=False)}
    assert frames.between


def test_a_masked_frame_of_a_server_is_a_fault():
    frames, out = fed([frame(TEXT, b"a", masked=True)], masked=False)
    assert (frames.fault.code, out) == (PROTOCOL_ERROR, b"")


@pytest.mark.parametrize(
    "data",
    [
        frame(BINARY, b"x" * 101),
        frame(BINARY, b"x" * 60, fin=False) + frame(PING, b"?") + frame(CONTINUATION, b"x" * 41),
        bytes([0x80 | BINARY, 0x80 | 127]) + (2**62).to_bytes(8, "big") + b"mask",
    ],
)
def test_a_message_over_the_limit_is_a_fault_at_its_head(data):
    """Its size is known before a byte of what is too much has passed."""
    frames, out = fed([data], limit=100)
    assert frames.fault.code == TOO_BIG
    assert len(out) < 100


def test_a_message_of_just_the_limit_passes():
    data = frame(BINARY, b"x" * 60, fin=False) + frame(CONTINUATION, b"x" * 40) + frame(BINARY, b"x" * 100)
    assert fed([data], limit=100)[1] == data


def test_nothing_passes_behind_a_close():
    """An end that has closed has nothing more to say."""
    close = frame(CLOSE, b"\x03\xe8bye")
    frames, out = fed([close + frame(TEXT, b"more"), frame(TEXT, b"and more")])
    assert (frames.closed, out) == (True, close)


def test_a_stop_holds_what_comes_behind_the_frame_under_way():
    """A Close of ours goes between two frames; what was held is still looked at for the end's own."""
    data, close = frame(TEXT, b"hello"), frame(CLOSE, b"\x03\xe8")
    frames = Frames(masked=True, limit=100)
    assert frames.feed(data[:7]) == data[:7]
    frames.stop = True
    assert not frames.between
    assert frames.feed(data[7:] + data + close) == data[7:]
    assert frames.between
    frames.stop = False
    assert frames.feed(b"") == data + close
    assert frames.closed


@pytest.mark.parametrize("masked", [True, False])
def test_a_close_of_ours_is_a_good_frame(masked):
    data = close_frame(1001, "because " * 30, masked=masked)
    frames, out = fed([data], masked=masked)
    assert (frames.closed, out) == (True, data)
    assert data[6 if masked else 2 :].startswith(b"\x03\xe9because ")
