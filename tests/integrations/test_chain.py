"""The audit's chain: whole, or it is told where it is not."""

from hypothesis import given, strategies as st

from integrations.chain import START, canonical, digest, verify


def chain(count, *, said="x"):
    """Entries with hashes, the newest first, and their end."""
    made, previous = [], START
    for number in range(1, count + 1):
        entry = {"number": number, "what": f"{said} {number}", "previous": previous}
        previous = digest(canonical(entry))
        made.insert(0, {**entry, "hash": previous})
    return made, (count, previous)


def test_a_chain_as_it_was_written_is_whole():
    """Also an empty one."""
    for count in (0, 1, 7):
        entries, head = chain(count)
        verdict = verify(entries, head)
        assert (verdict.problems, verdict.entries, verdict.newest) == ([], count, head)


@given(st.integers(1, 12), st.data())
def test_whatever_is_done_to_one_entry_is_seen(count, data):
    """Changed, taken out, put elsewhere, hashed anew: each of them is a problem."""
    entries, head = chain(count)
    at = data.draw(st.integers(0, count - 1))
    done = data.draw(st.sampled_from(["change", "rehash", "remove", "swap", "twice"]))
    if done in {"change", "rehash"}:
        changed = {
            name: value for name, value in {**entries[at], "what": "nothing"}.items() if name != "hash"
        }
        hashed = digest(canonical(changed)) if done == "rehash" else entries[at]["hash"]
        entries[at] = {**changed, "hash": hashed}
    elif done == "remove":
        del entries[at]
    elif done == "twice":
        entries.insert(at, entries[at])
    else:
        other = (at + 1) % count
        entries[at], entries[other] = entries[other], entries[at]
        if at == other:
            return
    assert verify(entries, head).problems


def test_what_was_cut_off_at_the_beginning_needs_an_entry_that_says_so():
    """With it the rest is whole; without, or with another hash, it is not."""
    entries, (count, previous) = chain(5)
    gone = entries[3]
    assert verify(entries[:3], (count, previous)).problems == [
        "what was before entry 3 is gone, and no entry says that it was cut off"
    ]
    for cut, whole in ((gone["hash"], True), (START, False)):
        told = {"number": 6, "what": "retention", "through": 2, "cut": cut, "previous": previous}
        newest = {**told, "hash": digest(canonical(told))}
        assert (not verify([newest, *entries[:3]], (6, newest["hash"])).problems) is whole


def test_an_end_that_was_taken_off_is_seen():
    """The chain ends where it is said to end, or later: others go on writing."""
    entries, head = chain(5)
    assert verify(entries[1:], head).problems == [
        "the chain ends with entry 4, and not with 5 as it is said to"
    ]
    assert verify([], head).problems
    earlier = (4, entries[1]["hash"])
    assert verify(entries, earlier).problems == []
