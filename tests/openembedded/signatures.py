# SPDX-License-Identifier: MIT
"""Runs inside `kas shell`: what the bbappends of this layer change in recipes of other layers, by hashes.

Arguments: files to read after the configuration. Each recipe that a bbappend of ours is for is parsed with
and without it. Prints a JSON object {name of the recipe's file: [task that is new or has another hash, ...]};
recipes that excuse themselves are left out.
"""

import json
import pathlib
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(shutil.which("bitbake")).parents[1] / "lib"))

import bb.cooker
import bb.tinfoil


def main() -> None:
    """Command line."""
    changed = {}
    with bb.tinfoil.Tinfoil() as tinfoil:
        parameters = bb.tinfoil.TinfoilConfigParameters(True, postfile=sys.argv[1:])
        tinfoil.prepare(config_only=True, config_params=parameters)
        config = tinfoil.config_data
        collection = bb.cooker.CookerCollectFiles([])
        recipes = collection.collect_bbfiles(config, config)[0]
        layer = config.getVar("OVERLAYROOT_LAYERDIR") + "/"
        for path in sorted(recipes):
            every = list(collection.get_file_appends(path))
            others = [append for append in every if not append.startswith(layer)]
            if every == others:
                continue
            plain, ours = (tinfoil.parse_recipe_file(path, appendlist=appends) for appends in (others, every))
            if plain.getVar("__SKIPPED") or ours.getVar("__SKIPPED"):
                continue
            # The hash of each task, without those of tasks that it depends on.
            before, after = (data.getVar("__siggen_basehashes", False) for data in (plain, ours))
            assert before and after, f"no hashes of {path}"
            changed[pathlib.Path(path).name] = [task for task in after if after[task] != before.get(task)]
    print("answer " + json.dumps(changed))


if __name__ == "__main__":
    main()
