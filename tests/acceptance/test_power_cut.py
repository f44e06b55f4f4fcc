"""An acknowledged event survives a power cut at any write, and the suite that says so can fail."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.crash.power import Aftermath, cut_once

CUTS = 60


async def cuts(folder: Path, **broken: object) -> list[Aftermath]:
    """Sixty power cuts at different writes; the first run only counts them."""
    base = Random().randrange(1_000_000)
    print(f"power cuts from seed {base}")  # noqa: T201 - shown where the test fails
    (folder / "dry").mkdir()
    of = (await cut_once(folder / "dry", base, of=1)).calls
    found = []
    for seed in range(base + 1, base + 1 + CUTS):
        place = folder / str(seed)
        place.mkdir()
        among = 40 if seed % 4 == 0 else of  # a quarter of them while the store is being made
        found.append(await cut_once(place, seed, of=among, **broken))  # type: ignore[arg-type]
    return found


async def test_no_power_cut_loses_an_acknowledged_event(tmp_path: Path) -> None:
    found = await cuts(tmp_path)
    assert sum(len(aftermath.acknowledged) for aftermath in found) > CUTS, "the cuts came while there was something"
    assert all(aftermath.whole for aftermath in found)
    assert [aftermath.lost for aftermath in found if aftermath.lost] == []


@pytest.mark.parametrize("broken", [{"synchronous": "normal"}, {"answer_first": True}], ids=["not-synced", "too-early"])
async def test_the_cuts_find_a_store_that_breaks_the_promise(tmp_path: Path, broken: dict[str, object]) -> None:
    found = await cuts(tmp_path, **broken)
    assert any(aftermath.lost for aftermath in found)
