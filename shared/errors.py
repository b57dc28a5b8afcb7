"""The exceptions that cross a module's border.

AnalyticsError
├── SettingsError        the environment is wrong; the process must not start
├── QueueUnavailable     the broker can't be reached or refuses writes
│   └── QueueFull        the backlog is at its bound
└── StoreError
    ├── StoreUnavailable the store can't be reached or is out of room: try again later
    └── StoreBusy        a worker is still writing what a clear must remove
"""


class AnalyticsError(Exception):
    """Base of every error that this project raises on purpose."""


class SettingsError(AnalyticsError):
    """One or more settings are wrong.

    `problems` holds one line for each, every line naming its variable.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class QueueUnavailable(AnalyticsError):
    """The broker did not take, or did not answer, what was asked of it."""


class QueueFull(QueueUnavailable):
    """The backlog is at its bound: nothing more is taken until workers have caught up."""


class StoreError(AnalyticsError):
    """The store did not do what was asked of it."""


class StoreUnavailable(StoreError):
    """The store is away or out of room. The same call may succeed later; no data is at fault."""


class StoreBusy(StoreError):
    """A clear waited for a worker's running write and gave up."""
