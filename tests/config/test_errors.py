"""How errors are spoken, whoever wrote what is in them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from moola.errors import MoolaError, printable

CLIPBOARD, CLEAR, REVERSED = "\x1b]52;c;ZXZpbA==\x07", "\x1b[2J\x9b2J", "\u202eexe"


def test_an_error_says_what_why_and_the_way_out() -> None:
    assert MoolaError("it broke", "one\ntwo", "mend it").spoken() == "moola: it broke\n  one\n  two\n  -> mend it"
    assert MoolaError("it broke").spoken() == "moola: it broke"


def test_what_others_wrote_cannot_act_on_the_terminal() -> None:
    said = MoolaError(f"pod{CLIPBOARD}", f"log: {CLEAR}{REVERSED}\tend", "\ud800").spoken()
    assert "\\x1b]52;c;ZXZpbA==\\x07" in said and "\\x1b[2J\\x9b2J\\u202eexe\tend" in said
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(said)
    said.encode()


def test_nobody_writes_a_line_of_moolas_own() -> None:
    said = MoolaError("pod\nmoola: all is well", "a\r\nb\rmoola: c\x85moola: d\u2028moola: e").spoken()
    assert [line[:2] for line in said.splitlines()] == ["mo", "  ", "  ", "  "]
    assert said.endswith("  b\\rmoola: c\\x85moola: d\\u2028moola: e")


@given(st.text())
def test_a_printable_text_has_no_signs_that_act_and_plain_ones_stay(text: str) -> None:
    said = printable(text)
    assert all(sign.isprintable() or sign in "\t\n" or ord(sign) > 0x9F for sign in said)
    assert "\n" not in printable(text, keep="")
    assert printable(said) == said


def test_words_of_all_languages_stay() -> None:
    for words in ("naïve ≤ 3 %", "日本語", "שלום", "👩‍🔬 → ½"):
        assert printable(words) == words
