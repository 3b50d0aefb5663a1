"""DynamoDB: one table, one module for each kind of thing in it.

| item                | ``pk``                           | ``sk``                          |
|---------------------|----------------------------------|---------------------------------|
| connection          | ``CONNECTION#<id>``              | ``CONNECTION``                  |
| count of open ones  | ``COUNT#<agent>``                | ``<ten minutes since 1970>``    |
| API key             | ``KEY#<SHA-256>``                | ``KEY``                         |
| conversation        | ``CONVERSATION#<user>#<id>``     | ``CONVERSATION``                |
| connection shows it | ``CONVERSATION#<user>#<id>``     | ``VIEWER#<connection>``         |
| message id          | ``CONVERSATION#<user>#<id>``     | ``ID#<message id>``             |
| a turn's message    | ``CONVERSATION#<user>#<id>``     | ``TURN#<turn>#1``               |
| a turn's reply      | ``CONVERSATION#<user>#<id>``     | ``TURN#<turn>#2``               |
| reply being written | ``REPLY#<reply>``                | ``REPLY``                       |
| what it has so far  | ``REPLY#<reply>``                | ``JOURNAL#<offset>``            |

``<turn>`` is the time at which API Gateway received the message, in milliseconds, and the reply's id: the order of
the keys is the order of the conversation. The index ``by_owner`` (``owner_id``, ``updated_at``) has a user's
conversations. ``expires_at`` (TTL) is in seconds since 1970.
"""
