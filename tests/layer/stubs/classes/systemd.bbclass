# SPDX-License-Identifier: MIT
# Stands for the class of oe-core.
