"""Pages of listings, and the tokens that continue them."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from gqlplugin.errors import InvalidInputError
from gqlplugin.platform.tailor.proto import operator_pb2 as pb

T = TypeVar("T")

_DEFAULT_SIZE = 100
_MAX_SIZE = 1000
_SEAL_BYTES = 12


class Paged(Protocol):
    """A request for a page."""

    @property
    def page_size(self) -> int: ...


class Listing(Paged, Protocol):
    """A request for a page of a listing in either direction."""

    @property
    def page_token(self) -> str: ...
    @property
    def page_direction(self) -> pb.PageDirection: ...


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A page of a listing that is all in memory."""

    items: Sequence[T]
    next_page_token: str
    total_count: int


class PageTokens:
    """Makes page tokens, and reads them.

    A token carries the place to go on at, under a seal that names the listing: it fits no other, and can't be made up.

    Args:
        key: What the seals are made with.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def make(self, listing: str, cursor: str) -> str:
        """The token that goes on after a cursor."""
        place = cursor.encode()
        return base64.urlsafe_b64encode(self._seal(listing, place) + place).decode()

    def read(self, listing: str, token: str) -> str | None:
        """The cursor in a token; None for the empty one, which asks for the first page.

        Raises:
            InvalidInputError: The token is not of this listing.
        """
        if not token:
            return None
        try:
            text = base64.b64decode(token, altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            text = b""
        seal, place = text[:_SEAL_BYTES], text[_SEAL_BYTES:]
        if not hmac.compare_digest(seal, self._seal(listing, place)):
            raise InvalidInputError(
                "pageToken is not of this listing: pass the nextPageToken that the same request, with the same filter "
                "and direction, was answered with."
            )
        return place.decode()

    def page(self, listing: str, items: Mapping[str, T], request: Listing) -> Page[T]:
        """A page of items, in the order of their names."""
        descending = request.page_direction == pb.PAGE_DIRECTION_DESC
        listing = f"{listing} {'desc' if descending else 'asc'}"
        after = self.read(listing, request.page_token)
        names = sorted(items, reverse=descending)
        if after is not None:
            names = [name for name in names if (name < after if descending else name > after)]
        shown = names[: page_size(request)]
        more = len(names) > len(shown)
        return Page(
            items=[items[name] for name in shown],
            next_page_token=self.make(listing, shown[-1]) if more else "",
            total_count=len(items),
        )

    def _seal(self, listing: str, place: bytes) -> bytes:
        return hmac.digest(self._key, listing.encode() + b"\0" + place, "sha256")[:_SEAL_BYTES]


def page_size(request: Paged) -> int:
    """How many items a page may have: 100 unless the client says, and at most 1000."""
    return min(request.page_size or _DEFAULT_SIZE, _MAX_SIZE)
