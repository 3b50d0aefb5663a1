"""What a chat is: conversations and replies, their texts, files and errors. Pure: nothing but the standard library."""
