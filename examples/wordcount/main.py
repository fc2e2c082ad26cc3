import re
from collections import Counter
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from xcore.plugin import Plugin, action

WORD = re.compile(r"\w+(?:['\u2019]\w+)*")


@dataclass
class Word:
    word: str
    count: int


@dataclass
class Counted:
    total: int
    different: int
    top: list[Word]


class WordCount(Plugin):
    @action
    def count(self, text: bytes, top: Annotated[int, Meta(ge=0, le=1000)] = 10) -> Counted:
        """Count the words of the request's body (UTF-8); `?top=3` gives the three most frequent.

        A parameter that is `bytes` is the raw body, so the others come from the query. The method is not async:
        counting keeps a processor busy, and in a thread of its own it holds up no other request.
        """
        words = Counter(WORD.findall(text.decode("utf-8", "replace").casefold()))
        most = [Word(word, count) for word, count in words.most_common(top)]
        return Counted(total=words.total(), different=len(words), top=most)
