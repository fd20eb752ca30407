# SPDX-License-Identifier: MIT
# Stands for the class of oe-core.
do_deploy[dirs] = "${DEPLOYDIR} ${B}"
