# SPDX-License-Identifier: MIT
"""Runs inside `kas shell`: expands variables of recipes, bbappends included, without parsing all the others.

Arguments: a JSON object {recipe file: [variable, ...]}, then files to read after the configuration.
Prints a JSON object {recipe file: {variable: value}, "": {variable of the configuration: value}}; a recipe
that excuses itself has the one key "skipped" with its reason.
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
    wanted = json.loads(sys.argv[1])
    out = {}
    with bb.tinfoil.Tinfoil() as tinfoil:
        parameters = bb.tinfoil.TinfoilConfigParameters(True, postfile=sys.argv[2:])
        tinfoil.prepare(config_only=True, config_params=parameters)
        config = tinfoil.config_data
        out[""] = {name: config.getVar(name) for name in wanted.pop("", [])}
        # tinfoil knows the bbappends only after parsing everything.
        collection = bb.cooker.CookerCollectFiles([])
        collection.collect_bbfiles(config, config)
        kernel = config.getVar("PREFERRED_PROVIDER_virtual/kernel")
        for recipe, names in wanted.items():
            layers = config.getVar("BBLAYERS").split()
            path = next(
                (
                    p
                    for layer in layers
                    for p in sorted(pathlib.Path(layer).glob(recipe.format(kernel=kernel)))[-1:]
                ),
                None,
            )
            if path is None:
                sys.exit(f"no layer has {recipe}")
            data = tinfoil.parse_recipe_file(
                str(path), appendlist=list(collection.get_file_appends(str(path)))
            )
            skipped = data.getVar("__SKIPPED")
            out[recipe] = {"skipped": skipped} if skipped else {name: data.getVar(name) for name in names}
    print("expanded " + json.dumps(out))


if __name__ == "__main__":
    main()
