"""DynamoDB: one table, one module for each kind of item, and ``Store`` in front of them.

| item                   | ``pk``                           | ``sk``                          |
|------------------------|----------------------------------|---------------------------------|
| connection             | ``CONNECTION#<id>``              | ``CONNECTION``                  |
| the same, just closed  | ``CONNECTION#<id>``              | ``RECENTLY_CLOSED``             |
| open connections       | ``COUNT#<agent>``                | ``<ten minutes since 1970>``    |
| API key                | ``KEY#<SHA-256>``                | ``KEY``                         |
| conversation           | ``CONVERSATION#<user>#<id>``     | ``CONVERSATION``                |
| viewer                 | ``CONVERSATION#<user>#<id>``     | ``VIEWER#<connection>``         |
| message id             | ``CONVERSATION#<user>#<id>``     | ``ID#<message id>``             |
| message of a turn      | ``CONVERSATION#<user>#<id>``     | ``TURN#<turn>#1``               |
| reply of a turn        | ``CONVERSATION#<user>#<id>``     | ``TURN#<turn>#2``               |
| piece of a long reply  | ``CONVERSATION#<user>#<id>``     | ``TURN#<turn>#2#<reply>#<n>``   |
| lease                  | ``CONVERSATION#<user>#<id>``     | ``CONVERSATION#LEASE``          |
| queue entry            | ``CONVERSATION#<user>#<id>``     | ``QUEUE#<turn>``                |
| worker's conversation  | ``WORKER#<invocation>``          | ``WORKER``                      |
| reply's location       | ``REPLY#<reply>``                | ``REPLY``                       |
| journal entry          | ``REPLY#<reply>``                | ``JOURNAL#<offset>``            |
| acknowledgment         | ``REPLY#<reply>``                | ``ACK#<device>``                |
| user                   | ``USER#<user>``                  | ``ACCOUNT``                     |
| user in the list       | ``USER#<user>``                  | ``PROFILE``                     |
| revoked credential     | ``USER#<user>``                  | ``REVOKED#<credential>``        |
| messages of a minute   | ``USER#<user>``                  | ``MINUTE#<since 1970>``         |
| usage                  | ``USER#<user>``                  | ``USAGE#<day>, USAGE#<month>``  |
| device of a user       | ``USER#<user>``                  | ``DEVICE#<id>``                 |
| owner of a push token  | ``PUSHTOKEN#<SHA-256>``          | ``OWNER``                       |
| push of a reply        | ``PUSHED#<reply>``               | ``DEVICE#<id>``                 |

``<turn>`` is the time at which API Gateway received the message, in milliseconds, and the reply's id: the order of
the keys is the order of the conversation. The index ``by_owner`` (``owner_id``, ``updated_at``) has a user's
conversations, all API keys and all users. ``expires_at`` (TTL) is in seconds since 1970.
"""
