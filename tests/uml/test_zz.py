# SPDX-License-Identifier: MIT
import failing, collections
from conftest import Rig
def test_zz(rig: Rig, cache) -> None:
    boot = rig.boot("root=/dev/ubda failcall=list", initrd=failing.tracing(rig), script="cat /sys/block/ubda/stat")
    l = boot.sections["calls"].splitlines()
    print(boot.script)
    print(len(l)); print("\n".join(l))
    print(collections.Counter(x.split()[0] for x in l))
