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
| device of a user       | ``USER#<user>``                  | ``DEVICE#<id>``                 |
| owner of a device      | ``DEVICE#<id>``                  | ``OWNER``                       |
| push of a reply        | ``PUSHED#<reply>``               | ``DEVICE#<id>``                 |

``<turn>`` is the time at which API Gateway received the message, in milliseconds, and the reply's id: the order of
the keys is the order of the conversation. The index ``by_owner`` (``owner_id``, ``updated_at``) has a user's
conversations, and all API keys. ``expires_at`` (TTL) is in seconds since 1970.
"""
