"""Imported before anything else by each part of the package that is bound to the host.

The errors of the host's own modules do not say what to install.
"""

from mmseg_proto._host import require_host

require_host()
