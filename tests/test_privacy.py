"""What a status change tells of its recipient is what the setting says, and no more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.codec import ChangeEncoder, decode_changes
from processor.errors import FatalError
from processor.model import StatusChange
from processor.privacy import RecipientRule, Recipients, hashed_recipient, masked, masked_recipient
from processor.settings import load_settings
from processor.testing import PipelineDriver, raw_event

KEY = b"a key of sixteen bytes and more"
NUMBER = "+2348030012345"


def change(policy: Recipients, recipient: str | None = NUMBER, error_text: str | None = None) -> StatusChange:
    """Return the change of one report, as the pipeline publishes it."""
    driver = PipelineDriver()
    driver.pipeline.recipients = RecipientRule(policy, KEY)
    (found,) = driver.pipe(raw_event("twilio", "SM1", "failed", recipient=recipient, error_text=error_text))
    return found


@pytest.mark.parametrize(
    ("policy", "shown"),
    [
        (Recipients.KEEP, NUMBER),
        (Recipients.MASK, "***45"),
        (Recipients.HASH, hashed_recipient(NUMBER, KEY)),
        (Recipients.DROP, None),
    ],
)
def test_the_recipient_goes_out_as_the_policy_says(policy: Recipients, shown: str | None) -> None:
    assert change(policy).recipient == shown


@pytest.mark.parametrize("policy", [Recipients.MASK, Recipients.HASH, Recipients.DROP])
def test_a_number_in_the_carriers_words_is_masked_with_the_recipient(policy: Recipients) -> None:
    assert change(policy, error_text=f"no route to {NUMBER}").error_text == "no route to ***45"
    assert change(Recipients.KEEP, error_text=f"no route to {NUMBER}").error_text == f"no route to {NUMBER}"


@pytest.mark.parametrize("policy", list(Recipients))
def test_a_change_without_a_recipient_stays_without(policy: Recipients) -> None:
    assert change(policy, recipient=None).recipient is None


def test_spellings_of_one_number_have_one_hash_and_other_keys_give_others() -> None:
    spellings = ["+2348030012345", "2348030012345", "+234 803-001-2345", "+234 (803) 001 2345"]

    assert len({hashed_recipient(spelling, KEY) for spelling in spellings}) == 1
    assert hashed_recipient(NUMBER, KEY) != hashed_recipient(NUMBER, b"another key of sixteen bytes")
    assert hashed_recipient("user-1", KEY) != hashed_recipient("user-2", KEY)


@given(st.text(min_size=1, max_size=40))
def test_a_masked_recipient_shows_two_characters_at_most(recipient: str) -> None:
    shown = masked_recipient(recipient).removeprefix("***")

    assert len(shown) <= 2
    assert recipient.endswith(shown)


def test_a_uuid_is_no_number_whatever_its_digits_are() -> None:
    uuid = "09c65aff-5042-5130-958b-0f7ceec44399"

    assert masked(f"request {uuid} of 2348030012345") == f"request {uuid} of ***45"
    assert masked("11111111-2222-3333-4444-555555555555") == "11111111-2222-3333-4444-555555555555"


def test_only_recipient_and_words_differ_between_policies() -> None:
    kept = change(Recipients.KEEP)
    for policy in Recipients:
        other = change(policy)
        assert other._replace(recipient=kept.recipient, error_text=kept.error_text) == kept
        assert decode_changes(ChangeEncoder().encode_changes([other])) == [other]


def test_a_hash_without_a_key_is_refused() -> None:
    with pytest.raises(FatalError, match=r"privacy\.key: must have at least 16 characters"):
        load_settings(None, {"privacy.recipients": "hash"})
