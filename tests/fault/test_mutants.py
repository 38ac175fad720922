"""Each mutant still finds the lines it breaks; that rounds notice it takes minutes (test_mutations.py)."""

import pytest
from fault.mutants import MUTANTS, strays


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_finds_its_place(name: str) -> None:
    assert strays(MUTANTS[name]) == [], "that file reads otherwise now; the mutant must follow it"
