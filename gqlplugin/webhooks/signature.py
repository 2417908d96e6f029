"""Verifies webhook requests: secrets in paths, and signatures (https://www.standardwebhooks.com)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from standardwebhooks import Webhook, WebhookVerificationError

from gqlplugin.errors import FailedPreconditionError
from gqlplugin.executor.trigger import IncomingWebhookTrigger
from gqlplugin.secret import Secret, SecretRef, reveal
from gqlplugin.webhooks.request import RefusedRequestError, not_proved, unavailable

MIN_PATH_SECRET = 16
MIN_SIGNING_BYTES = 24

_CHECKS = 2  # secrets that a request is checked with at least: as many as there are while one is changed

_ID, _TIMESTAMP, _SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
_SVIX = "svix-"  # Svix, whose scheme became Standard Webhooks, sends the same headers under its own name
# The signature is over `id.timestamp.body`: with a full stop in the first two, other parts could be made of the same
# text. The library takes any number for a timestamp, and signs its integer part.
_WELL_FORMED_ID = re.compile(r"[^.]+")
_WELL_FORMED_TIMESTAMP = re.compile(r"[0-9]{1,12}")

_logger = logging.getLogger("gqlplugin.webhooks")
K = TypeVar("K")


def secret_problems(trigger: IncomingWebhookTrigger) -> list[str]:
    """What is wrong with the secrets of a trigger, without the secrets."""
    _, by_path = _usable(trigger.path_secrets, _read_path_secret)
    _, signing = _usable(trigger.signing_secrets, _read_signing_secret)
    return by_path + signing


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


def check_signature(name: str, trigger: IncomingWebhookTrigger | None, headers: Mapping[str, str], body: bytes) -> str:
    """Refuse a request that is not signed with a secret of the trigger; the ID that was signed.

    Args:
        name: The executor's.
        trigger: None where there is nothing to send to, which takes as long.
        headers: By lower-case name.
        body: As it was sent.

    Raises:
        RefusedRequestError: It is refused, or the secrets can't be used.
    """
    given = (_ID, _TIMESTAMP, _SIGNATURE)
    prefix = "webhook-" if any(header in headers for header in given) else _SVIX
    signed = {header: headers.get(header.replace("webhook-", prefix), "") for header in given}
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
    return signed[_ID]


def refusal(name: str, trigger: IncomingWebhookTrigger | None, reason: str) -> RefusedRequestError:
    """The one answer to all who prove nothing; the reason is for the operators."""
    if trigger is not None:  # or the name could be anything
        _logger.info("Refused a request to executor %r: %s", name, reason)
    return not_proved()


def _is_proved(
    name: str, secrets: Sequence[Secret], read: Callable[[str], K], dummy: K, fits: Callable[[K], bool]
) -> bool:
    usable, problems = _usable(secrets, read)
    for problem in problems:
        _logger.error("Executor %r can't check with one of its secrets who sent a request: %s", name, problem)
    # with dummies for those that are not there: the time of a refusal does not tell whether there are any
    dummies = [dummy] * (_CHECKS - len(usable))
    is_proved = any(fits(secret) for secret in (*usable, *dummies))
    if not is_proved and len(usable) < len(secrets):
        raise unavailable()
    return is_proved


def _usable(secrets: Sequence[Secret], read: Callable[[str], K]) -> tuple[list[K], list[str]]:
    """The secrets that can be used, and what is wrong with the others."""
    usable: list[K] = []
    problems: list[str] = []
    for secret in secrets:
        try:
            usable.append(read(reveal(secret)))
        except FailedPreconditionError as error:
            problems.append(str(error))
        except _UnusableSecretError as error:
            problems.append(f"The secret {secret.name if isinstance(secret, SecretRef) else 'SecretStr'} {error}")
    return usable, problems


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
