"""What is said of a key that is to be made, held against what may be said. Pure."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Annotated, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from integrations.grants import Role
from integrations.moments import Moment, seconds
from xcore import fields, jsonsafe
from xcore.complaints import complaints
from xcore.errors import Invalid, InvalidManifest, Problem
from xcore.fields import Action, Label, Model, UniqueBy, wrong
from xcore.schema import schema_of

LONGEST_DAYS = 3660


class InvalidNewKey(Invalid):
    reason = "InvalidArguments"


def _plain(text: str) -> str:
    if not text.isprintable() or not text.strip():
        raise wrong("must be text on one line, without control characters")
    return text


class NewKey(Model):
    """The body of `POST /api/v1/keys`. Without `plugins` or `actions` it is for all of them."""

    name: Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_plain)] = Field(
        description="What it is for, to tell it from others."
    )
    role: Role = Field(description="What its holder is here for.")
    plugins: Annotated[tuple[Label, ...], Field(min_length=1, max_length=100), UniqueBy()] | None = Field(
        None, description="Plugins it is for; absent or null: all."
    )
    actions: Annotated[tuple[Action, ...], Field(min_length=1, max_length=100), UniqueBy()] | None = Field(
        None, description="Actions it may call; absent or null: all."
    )
    scopes: Annotated[
        tuple[Annotated[str, Field(pattern=fields.SCOPE, max_length=128)], ...],
        Field(max_length=64),
        UniqueBy(),
    ] = Field((), description="What actions with access Scoped ask for.")
    expires_at: Moment | None = Field(None, description="When it ends (RFC 3339); absent or null: never.")

    @model_validator(mode="after")
    def _fits_the_role(self) -> Self:
        if self.role is Role.ADMIN and self.plugins is not None:
            raise wrong("must be absent where role is admin: it could make itself another key", ("plugins",))
        if self.role in {Role.ADMIN, Role.VIEWER}:
            why = "must be absent where role is admin or viewer: the one calls everything, the other nothing"
            if self.actions is not None:
                raise wrong(why, ("actions",))
            if self.scopes:
                raise wrong(why, ("scopes",))
        return self


def new_key(text: bytes, *, now: float, asked_for: AbstractSet[str]) -> tuple[NewKey, float | None]:
    """Read a body; gives when the key ends, in seconds since 1970, too. `asked_for`: the scopes there are.

    Raises InvalidNewKey.
    """
    try:
        said = NewKey.model_validate(jsonsafe.load(text, name="the body"), by_alias=True, by_name=False)
    except InvalidManifest as error:
        raise InvalidNewKey(error.detail, error.problems) from None
    except ValidationError as error:
        problems = complaints(error, schema=schema_of(NewKey), lines={})
        raise InvalidNewKey("this is no key that can be made", problems) from None
    expires = seconds(said.expires_at) if said.expires_at is not None else None
    problems = [*_unknown(said, asked_for), *_misplaced(expires, now)]
    if problems:
        raise InvalidNewKey("this is no key that can be made", problems)
    return said, expires


def _unknown(said: NewKey, asked_for: AbstractSet[str]) -> list[Problem]:
    there = ", ".join(sorted(asked_for)[:20]) or "none"
    return [
        Problem(f"scopes[{index}]", f"no action asks for {scope}; asked for: {there}")
        for index, scope in enumerate(said.scopes)
        if scope not in asked_for
    ]


def _misplaced(expires: float | None, now: float) -> list[Problem]:
    if expires is None or now < expires <= now + LONGEST_DAYS * 86400:
        return []
    return [Problem("expiresAt", f"must be in the future, at most {LONGEST_DAYS} days from now")]
