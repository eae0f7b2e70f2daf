"""SQuAD: read, stored, fed."""
