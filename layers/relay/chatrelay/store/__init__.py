"""DynamoDB: one table, one module for each kind of thing in it.

| item                | ``pk``                           | ``sk``                          |
|---------------------|----------------------------------|---------------------------------|
| connection          | ``CONNECTION#<id>``              | ``CONNECTION``                  |
| one closed lately   | ``CONNECTION#<id>``              | ``RECENTLY_CLOSED``             |
| count of open ones  | ``COUNT#<agent>``                | ``<ten minutes since 1970>``    |
| API key             | ``KEY#<SHA-256>``                | ``KEY``                         |
| conversation        | ``CONVERSATION#<user>#<id>``     | ``CONVERSATION``                |
| connection shows it | ``CONVERSATION#<user>#<id>``     | ``VIEWER#<connection>``         |
| message id          | ``CONVERSATION#<user>#<id>``     | ``ID#<message id>``             |
| a turn's message    | ``CONVERSATION#<user>#<id>``     | ``TURN#<turn>#1``               |
| a turn's reply      | ``CONVERSATION#<user>#<id>``     | ``TURN#<turn>#2``               |
| more of it          | ``CONVERSATION#<user>#<id>``     | ``TURN#<turn>#2#<reply>#<n>``   |
| who writes now      | ``CONVERSATION#<user>#<id>``     | ``LEASE``                       |
| where one writes    | ``WORKER#<invocation>``          | ``WORKER``                      |
| a turn that waits   | ``CONVERSATION#<user>#<id>``     | ``QUEUE#<turn>``                |
| where a reply is    | ``REPLY#<reply>``                | ``REPLY``                       |
| what it has so far  | ``REPLY#<reply>``                | ``JOURNAL#<offset>``            |
| how far it is shown | ``REPLY#<reply>``                | ``ACK#<device>``                |
| a user's device     | ``USER#<user>``                  | ``DEVICE#<id>``                 |
| whose a device is   | ``DEVICE#<id>``                  | ``OWNER``                       |
| a reply's push      | ``PUSHED#<reply>``               | ``DEVICE#<id>``                 |

``<turn>`` is the time at which API Gateway received the message, in milliseconds, and the reply's id: the order of
the keys is the order of the conversation. The index ``by_owner`` (``owner_id``, ``updated_at``) has a user's
conversations, and all API keys. ``expires_at`` (TTL) is in seconds since 1970.
"""
