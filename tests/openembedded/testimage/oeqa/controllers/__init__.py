# SPDX-License-Identifier: MIT
"""Shares its name with OpenEmbedded-Core's package of controllers, which has to be found as well."""

import pkgutil

__path__ = pkgutil.extend_path(__path__, __name__)
