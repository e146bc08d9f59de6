"""Every error a user can cause, each with a one-line message that says what is wrong and what to do."""

from __future__ import annotations


class PfedgeError(Exception):
    """Base of all errors that pfedge raises on purpose; the CLI prints it without a traceback."""

    exit_code = 1
    source: str | None = None  # the file or folder that it is about, where one of several could not be read


class UsageError(PfedgeError):
    """What was asked for makes no sense as asked."""

    exit_code = 2


class MissingExtraError(UsageError):
    """An optional dependency is not installed: `what` needs the extra `extra` of pfedge."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an extra that is not installed: pip install 'pfedge[{extra}]'")


class UnknownClassError(UsageError):
    """A class id or name that the model never had."""


class AlreadyForgottenError(PfedgeError):
    """A class that the bank no longer has."""


class LastRowError(PfedgeError):
    """Dropping would leave a bank without any row."""

    def __init__(self) -> None:
        super().__init__("a bank must keep at least one row; to forget everything, remove the bundle")


class BankError(PfedgeError):
    """A bank file that is damaged, or a bank that does not fit."""


class BundleError(PfedgeError):
    """A bundle that is incomplete, damaged or of another schema version."""


class ProviderError(PfedgeError):
    """An execution provider that was asked for and did not load."""


class InputError(PfedgeError):
    """An input file or array that cannot be used."""


class StorageError(PfedgeError):
    """A durable write that failed; what was there before is still there."""


class KeyFileError(PfedgeError):
    """A key file that is missing, or is not what it should be."""


class SignatureError(PfedgeError):
    """A signed statement that does not verify, or is not there where one is demanded."""


class LedgerError(PfedgeError):
    """A ledger that was changed, or cannot be read."""


class StateError(PfedgeError):
    """A device state that is not the latest: an old copy put back, or taken away."""


class TombstoneError(PfedgeError):
    """A row that was forgotten on this device, and is back."""


class SealError(PfedgeError):
    """A sealed row whose key is missing or another's."""
