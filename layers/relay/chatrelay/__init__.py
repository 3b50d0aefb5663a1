"""What the functions of Chat Relay share: a pure core, and one adapter for each thing outside.

Pure (values in, values out): ``protocol``, ``reply``, ``coalesce``, ``history``, ``identity``, ``errors``.
I/O, one adapter a thing: ``store``, ``gateway``, ``agents``. ``wiring`` is the only place that builds clients.
Importing any of these modules reads nothing and opens nothing.
"""

__version__ = "1.0.0"
