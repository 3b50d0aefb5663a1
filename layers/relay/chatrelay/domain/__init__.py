"""What a chat is: conversations and replies, their texts, files and errors. Pure: values in, values out."""
