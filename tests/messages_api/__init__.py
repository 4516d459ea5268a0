"""Tests of `messages_api`, in the folders of its packages."""
