"""One resource a file; `service.app` names them."""
