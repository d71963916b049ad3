"""Wire shapes: OpenAI's fields as its SDK spells them, and this yard's additions, which its SDK
keeps."""
