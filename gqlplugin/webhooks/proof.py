"""Whether a request comes from its sender: secrets in paths, and signatures as Standard Webhooks has them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from standardwebhooks import Webhook, WebhookVerificationError

from gqlplugin.errors import FailedPreconditionError
from gqlplugin.executor.trigger import IncomingWebhookTrigger
from gqlplugin.secret import Secret, SecretRef, reveal
from gqlplugin.webhooks.answers import RefusedRequestError, not_proved, unavailable

MIN_PATH_SECRET = 16
MIN_SIGNING_BYTES = 24

_CHECKS = 2  # secrets that a request is checked with at least: as many as there are while one is changed

_ID, _TIMESTAMP, _SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
# The signature is over `id.timestamp.body`: with a full stop in the first two, other parts could be made of the same
# text. The library takes any number for a timestamp, and signs its integer part.
_WELL_FORMED_ID = re.compile(r"[^.]+")
_WELL_FORMED_TIMESTAMP = re.compile(r"[0-9]{1,12}")

_logger = logging.getLogger("gqlplugin.webhooks")
K = TypeVar("K")


def check_path_secret(name: str, trigger: IncomingWebhookTrigger | None, given: str) -> None:
    """Refuse a request whose path does not end in a secret of the trigger.

    Args:
        name: The executor's.
        trigger: None where there is nothing to send to, which takes as long.
        given: The end of the path.

    Raises:
        RefusedRequestError: It is refused, or the secrets can't be used.
    """
    digest = _digest(given)
    secrets = () if trigger is None else trigger.path_secrets
    fits = partial(hmac.compare_digest, digest)
    if not _is_proved(name, secrets, _read_path_secret, _NO_PATH_SECRET, fits):
        raise refusal(name, trigger, "its path does not end in a secret of this executor")


def check_signature(
    name: str, trigger: IncomingWebhookTrigger | None, headers: Mapping[str, str], body: bytes
) -> tuple[str, int]:
    """Refuse a request that is not signed with a secret of the trigger; the ID and the time that were signed.

    Args:
        name: The executor's.
        trigger: None where there is nothing to send to, which takes as long.
        headers: By lower-case name.
        body: As it was sent.

    Raises:
        RefusedRequestError: It is refused, or the secrets can't be used.
    """
    signed = {header: headers.get(header, "") for header in (_ID, _TIMESTAMP, _SIGNATURE)}
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise refusal(name, trigger, "its body is not UTF-8") from None
    if not (_WELL_FORMED_ID.fullmatch(signed[_ID]) and _WELL_FORMED_TIMESTAMP.fullmatch(signed[_TIMESTAMP])):
        raise refusal(name, trigger, f"its {_ID} or {_TIMESTAMP} is missing or malformed")
    secrets = () if trigger is None else trigger.signing_secrets
    if not _is_proved(
        name, secrets, _read_signing_secret, _NO_SIGNING_SECRET, lambda key: _has_signed(key, text, signed)
    ):
        raise refusal(name, trigger, f"its {_SIGNATURE} is wrong, or its {_TIMESTAMP} not of these minutes")
    return signed[_ID], int(signed[_TIMESTAMP])


class AcceptedDeliveries:
    """The signed requests that were accepted lately, each as it was sent: nobody may send the very same again.

    For good order alone: what keeps a delivery from starting a second run is its ID, which the platform remembers. As
    long as this remembers one its timestamp is good; of more than `max_kept` it forgets the oldest.

    Args:
        max_kept: How many are remembered.
        clock: Tells seconds.
    """

    SECONDS = 600.0

    def __init__(self, *, max_kept: int = 16_384, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_kept = max_kept
        self._clock = clock
        self._accepted: dict[bytes, float] = {}

    def __contains__(self, delivery: tuple[str, str, int]) -> bool:
        """Whether this executor, ID and timestamp were accepted."""
        accepted_at = self._accepted.get(_digest(repr(delivery)))
        return accepted_at is not None and self._clock() - accepted_at < self.SECONDS

    def __len__(self) -> int:
        return len(self._accepted)

    def add(self, delivery: tuple[str, str, int]) -> None:
        """Remember an executor, ID and timestamp."""
        now = self._clock()
        self._accepted[_digest(repr(delivery))] = now
        while len(self._accepted) > self._max_kept or now - self._accepted[self._oldest()] >= self.SECONDS:
            del self._accepted[self._oldest()]

    def _oldest(self) -> bytes:
        return next(iter(self._accepted))


def refusal(name: str, trigger: IncomingWebhookTrigger | None, reason: str) -> RefusedRequestError:
    """The one answer to all who prove nothing; the reason is for the operators."""
    if trigger is not None:  # or the name could be anything
        _logger.info("Refused a request to executor %r: %s", name, reason)
    return not_proved()


def _is_proved(
    name: str, secrets: Sequence[Secret], read: Callable[[str], K], dummy: K, fits: Callable[[K], bool]
) -> bool:
    usable: list[K] = []
    for secret in secrets:
        try:
            usable.append(read(reveal(secret)))
        except FailedPreconditionError as error:
            _logger.error("Executor %r can't check with one of its secrets who sent a request: %s", name, error)
        except _UnusableSecretError as error:
            shown = secret.name if isinstance(secret, SecretRef) else "a SecretStr"
            _logger.error("Executor %r can't check who sent a request: its secret %s %s", name, shown, error)
    # with dummies for those that are not there: the time of a refusal does not tell whether there are any
    dummies = [dummy] * (_CHECKS - len(usable))
    is_proved = any(fits(secret) for secret in (*usable, *dummies))
    if not is_proved and len(usable) < len(secrets):
        raise unavailable()
    return is_proved


class _UnusableSecretError(Exception):
    """What is wrong with a secret of ours, without the secret."""


def _read_path_secret(secret: str) -> bytes:
    if len(secret) < MIN_PATH_SECRET:
        raise _UnusableSecretError(f"is shorter than {MIN_PATH_SECRET} characters.")
    return _digest(secret)


def _read_signing_secret(secret: str) -> Webhook:
    digits = secret.removeprefix("whsec_").rstrip("=")
    try:
        # strictly: the library skips what is not base64, and would verify with another key than the sender signs with
        key = base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)
    except ValueError:
        raise _UnusableSecretError("is not base64.") from None
    if len(key) < MIN_SIGNING_BYTES:
        raise _UnusableSecretError(f"is shorter than {MIN_SIGNING_BYTES} bytes.")
    return Webhook(key)


def _has_signed(key: Webhook, text: str, headers: dict[str, str]) -> bool:
    try:
        key.verify(text, headers, json_parse=False)
    except (WebhookVerificationError, ValueError):  # the latter for signatures that are malformed
        return False
    return True


def _digest(text: str) -> bytes:
    """Of the same length for all, and of what headers and paths may hold."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()


_NO_PATH_SECRET = os.urandom(32)
_NO_SIGNING_SECRET = Webhook(os.urandom(32))
