# SPDX-License-Identifier: MIT
# Stands for the class of oe-core.
python () {
    missing = set((d.getVar("REQUIRED_DISTRO_FEATURES") or "").split()) - set((d.getVar("DISTRO_FEATURES") or "").split())
    if missing:
        raise bb.parse.SkipRecipe("missing in DISTRO_FEATURES: " + " ".join(sorted(missing)))
}
