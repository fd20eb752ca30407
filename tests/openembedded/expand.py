# SPDX-License-Identifier: MIT
"""Runs inside `kas shell`: expands variables of recipes, bbappends included, without parsing all the others.

Arguments: a JSON object {recipe file: [variable, ...]}, then files to read after the configuration. In the
name of a recipe {kernel} and {bootloader} are the machine's; a variable file://NAME is the text of that file
of SRC_URI, TASK[FLAG] a flag.
Prints a JSON object {recipe file: {variable: value}, "": {variable of the configuration: value}}; a recipe
that excuses itself has the one key "skipped" with its reason.
"""

import json
import pathlib
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(shutil.which("bitbake")).parents[1] / "lib"))

import bb.cooker
import bb.fetch2
import bb.tinfoil


def value(data, name: str) -> str | None:
    """A variable of a recipe, a flag, or the text of a file of its SRC_URI."""
    if name.startswith("file://"):
        return pathlib.Path(bb.fetch2.Fetch([name], data).localpath(name)).read_text()
    name, _, flag = name.partition("[")
    return data.getVarFlag(name, flag.rstrip("]")) if flag else data.getVar(name)


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
        preferred = {
            "kernel": config.getVar("PREFERRED_PROVIDER_virtual/kernel"),
            "bootloader": config.getVar("PREFERRED_PROVIDER_virtual/bootloader") or "u-boot",
        }
        for recipe, names in wanted.items():
            layers = config.getVar("BBLAYERS").split()
            path = next(
                (
                    p
                    for layer in layers
                    for p in sorted(pathlib.Path(layer).glob(recipe.format(**preferred)))[-1:]
                ),
                None,
            )
            if path is None:
                sys.exit(f"no layer has {recipe}")
            data = tinfoil.parse_recipe_file(
                str(path), appendlist=list(collection.get_file_appends(str(path)))
            )
            skipped = data.getVar("__SKIPPED")
            out[recipe] = {"skipped": skipped} if skipped else {name: value(data, name) for name in names}
    print("answer " + json.dumps(out))


if __name__ == "__main__":
    main()
