"""What the functions of Chat Relay share.

| room       | what is in it                                                                             |
|------------|-------------------------------------------------------------------------------------------|
| `domain`   | what a chat is: keys, replies, turns, files, errors. No I/O                               |
| `wire`     | frames in and out, one module a dialect; HTTP bodies; the carriers of an identity         |
| `delivery` | from one reply to many sockets                                                            |
| `agents`   | one adapter a model's service                                                             |
| `store`    | one table, one module a kind of item                                                      |
| `aws`      | one thin adapter a service                                                                |
| `tokens`   | JWTs of OpenID Connect issuers: who somebody is, and the keys that prove it               |
| `push`     | one adapter a push service, and who is told                                               |
| `relay`    | dispatch, the worker of a conversation, the writer of a reply, resume, recovery           |

Only `wiring` builds clients. Importing any module reads nothing and opens nothing.
"""

__version__ = "1.0.0"
