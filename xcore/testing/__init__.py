"""What this project tests itself with, for those who build on it: a clock that is moved by hand, an engine in memory
that fails as told, and the promises every `Runtime` keeps, as a suite to inherit.

    from xcore.testing import FakeClock, FakeEngine, RuntimeContract
"""

from xcore.testing.case import BETTER, BROKEN, GOOD
from xcore.testing.clock import FakeClock
from xcore.testing.contract import RuntimeContract
from xcore.testing.engine import Behaviour, FakeEndpoint, FakeEngine, FakeHost
from xcore.testing.outage import OutageContract

__all__ = [
    "BETTER",
    "BROKEN",
    "GOOD",
    "Behaviour",
    "FakeClock",
    "FakeEndpoint",
    "FakeEngine",
    "FakeHost",
    "OutageContract",
    "RuntimeContract",
]
