"""A study in this process, as its workers make it."""

from __future__ import annotations

import json

from taggram.learning.train import Watcher
from taggram.studies import find_study
from taggram.studies._worker import make_study


def made_study(name, values, folder, data=None):
    """Give a study whose data is prepared, or is as given."""
    kind = find_study(name)
    config = kind.config_kind.of(values)
    for inside in ("cells", "files"):
        (folder / inside).mkdir(parents=True, exist_ok=True)
    if data is None:
        data = kind.prepare(config, folder, Watcher(), 1)
    settings = {"study": name, "config": config.to_dict(), "folder": str(folder), "data": data}
    return make_study(json.loads(json.dumps(settings)))
