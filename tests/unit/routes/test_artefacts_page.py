"""docs/artefacts.md: its file can be used, an editor accepts it, and every key is described."""

import re
from pathlib import Path

from pydantic import BaseModel

from tests.unit.routes.test_artefacts_file import artefacts
from tests.unit.routes.test_file_schema import refused
from tsync_stream.routes.artefact_models import (
    ArtefactsPart,
    CurationPart,
    RulePart,
    SearchKeyPart,
    StopwordsPart,
    SynonymPart,
)

PAGE = Path("docs/artefacts.md").read_text(encoding="utf-8")


def test_the_file_of_the_page_declares_what_it_says(tmp_path: Path) -> None:
    (text,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    found = artefacts(tmp_path, text)
    assert refused(text) == []
    assert list(found.routes["products"].synonyms) == ["coats", "phones"]
    assert list(found.search_keys) == ["web"]


def test_every_key_is_named() -> None:
    models: list[type[BaseModel]] = [
        ArtefactsPart,
        SynonymPart,
        CurationPart,
        RulePart,
        StopwordsPart,
        SearchKeyPart,
    ]
    table = PAGE.partition("## The parts\n")[2].partition("\n## ")[0]
    names = {field.alias or name for model in models for name, field in model.model_fields.items()}
    assert names - set(re.findall(r"`(\w+)`", table)) == set()
