"""What the functions of Chat Relay share: a pure core, and one adapter for each thing outside.

Pure (values in, values out): ``protocol``, ``reply``, ``coalesce``, ``history``, ``identity``, ``text``, ``errors``.
I/O, one adapter a thing: ``store``, ``gateway``, ``secret``, ``agents``. Only ``wiring`` builds clients.
Importing any of these modules reads nothing and opens nothing.
"""

__version__ = "1.0.0"
