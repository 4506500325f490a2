"""How the service speaks HTTP: bodies that come in, answers that go out, what lies around them."""
